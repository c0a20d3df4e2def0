"""Built models compute what their programs say, by the circuit that they say, and planted runs form when they say."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import interp
from interp.circuits import find_circuit, graph_of, named
from interp.circuits._attribution import pair_of
from interp.circuits._graph import edge_mask
from interp.circuits._masked import masked_values
from interp.circuits.formation import track_circuit
from interp.cli.parser import main
from interp.errors import InputError
from interp.families.planned import planned_runs
from interp.measure.metrics import questions
from interp.testbed import PROGRAMS, build, planted, spliced, write_family
from interp.testbed.compiler import compile_program, place
from interp.testbed.truth import nodes_of
from interp.training.grow import grow
from interp.types import Prompts

RECIPES = Path(__file__).parent.parent / "experiments" / "recipes"
ORACLES = {
    "copy": lambda x, p: x[p - 3],
    "reverse": lambda x, p: x[8 - p],
    "shift": lambda x, p: x[p - 2],
    "caesar": lambda x, p: (x[p - 1] + 2) % 6,
    "first": lambda x, p: next(i for i, t in enumerate(x[1 : p + 1]) if t == 0),
    "last": lambda x, p: [t for t in x[: p + 1] if t][-1],
    "maximum": lambda x, p: sorted(x[1 : p + 1])[-1],
    "count": lambda x, p: sum(t == 0 for t in x[: p + 1]),
    "histogram": lambda x, p: Counter(x[: p + 1])[x[p]],
    "majority": lambda x, p: Counter(x[1 : p + 1]).most_common(1)[0][0],
    "parity": lambda x, p: Counter(x[: p + 1])[1] % 2,
    "sort": lambda x, p: sorted(x[1:5])[p - 4],
    "brackets": lambda x, p: 3 if _closes("".join("()"[t] for t in x[1 : p + 1])) else 2,
    "duplicate": lambda x, p: int(Counter(x[: p + 1])[x[p]] > 1),
    "induction": lambda x, p: next(b for a, b in itertools.pairwise(x) if a == x[p]),
    "compare": lambda x, p: int(x[1] == x[p]),
    "other_name": lambda x, p: (set(x[1:3]) - {x[3]}).pop(),
    "pointer": lambda x, p: x[2 + x[1]],
    "modular_sum": lambda x, p: (x[1] + x[2] + x[3]) % 4,
    "carry": lambda x, p: (4 * x[1] + x[2] + 4 * x[3] + x[4]) // 4 % 4,
}


def _closes(word: str) -> bool:
    while "()" in word:
        word = word.replace("()", "")
    return not word


def logits_at_answer(model, prompts: Prompts) -> torch.Tensor:  # type: ignore[no-untyped-def]
    with torch.no_grad():
        logits = model(prompts.clean)
    return logits[torch.arange(len(logits)), questions(prompts, model).read[:, 0]]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_built_model_computes_its_program(name: str) -> None:
    """Answers of a second definition in plain Python, with a margin, on sampled inputs and under several seeds."""
    for seed in range(3):
        built = build(name, seed=seed, n_distractors=1 + seed, extra_layers=seed)
        prompts = built.prompts(150, rng=torch.Generator().manual_seed(seed))
        logits = logits_at_answer(built.model, prompts)
        assert torch.equal(logits.argmax(-1), prompts.answer)
        top = logits.topk(2).values
        assert float((top[:, 0] - top[:, 1]).min()) > 1
        if name in ORACLES:
            expected = [
                ORACLES[name](x, p) for x, p in zip(prompts.clean.tolist(), prompts.position.tolist(), strict=True)
            ]
            assert prompts.answer.tolist() == expected
        assert bool((prompts.answer != prompts.wrong).all())


def test_exhaustively_where_that_is_cheap() -> None:
    built = build("modular_sum", seed=5)
    tokens = torch.tensor([[4, a, b, c] for a, b, c in itertools.product(range(4), repeat=3)])
    with torch.no_grad():
        answers = built.model(tokens)[:, -1].argmax(-1)
    assert torch.equal(answers, tokens[:, 1:].sum(1) % 4)
    word = torch.tensor([[4, *bits] for bits in itertools.product(range(2), repeat=6)])
    with torch.no_grad():
        verdicts = build("brackets", seed=5).model(word)[:, -1].argmax(-1)
    assert verdicts.tolist() == [3 if _closes("".join("()"[t] for t in row[1:])) else 2 for row in word.tolist()]


@pytest.mark.parametrize("name", PROGRAMS)
def test_true_edges_are_those_that_can_change_the_answer(name: str) -> None:
    """Patching any one true edge moves the answer on some prompt; any other moves nothing; together they do everything."""
    built = build(name, seed=1)
    prompts = built.prompts(40, rng=torch.Generator().manual_seed(0))
    pair = pair_of(built.model, prompts)
    edges = pair.graph.edges
    places = edges.nonzero()
    masks = edges.float().repeat(len(places), 1, 1)
    masks[torch.arange(len(places)), places[:, 0], places[:, 1]] = 0.0
    true = edge_mask(pair.graph, built.edges)
    whole, circuit, empty = masked_values(torch.stack([edges, true, torch.zeros_like(edges)]).float(), pair)
    patched = masked_values(masks, pair)
    moved = (whole - patched).abs().amax(1)
    is_true = true[edges]
    assert float(moved[~is_true].max()) < 1e-3
    assert bool((patched[is_true].amin(1) < 0.2 * whole.mean()).all())
    assert torch.allclose(circuit, whole, atol=1e-3)
    assert float(whole.min()) > 1 > -1 > float(empty.max())
    assert built.nodes == nodes_of(built.edges)


def test_the_function_does_not_depend_on_the_seed_but_the_weights_do() -> None:
    one, other = (build("induction", seed=seed, rotate=True) for seed in (0, 1))
    plain = build("induction", seed=0, rotate=False)
    prompts = one.prompts(50, rng=torch.Generator().manual_seed(0))
    expected = logits_at_answer(plain.model, prompts)
    for built in (one, other):
        assert torch.allclose(logits_at_answer(built.model, prompts), expected, atol=0.05)
    weight = one.model.module.get_parameter("layers.0.attn.q.weight")
    assert not torch.equal(weight, other.model.module.get_parameter("layers.0.attn.q.weight"))
    assert (
        float((weight == 0).float().mean())
        < 0.5
        < float((plain.model.module.get_parameter("head.weight") == 0).float().mean())
    )
    again = build("induction", seed=0).model.module.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in one.model.module.state_dict().items())


def test_distractors_are_there_and_do_something_else() -> None:
    """Some distractor head writes to the residual stream, and the model's answers are those of the model without any."""
    built, bare = (build("compare", seed=2, n_distractors=n, extra_layers=n) for n in (2, 0))
    prompts = built.prompts(20, rng=torch.Generator().manual_seed(0))
    assert torch.allclose(logits_at_answer(built.model, prompts), logits_at_answer(bare.model, prompts), atol=0.02)
    assert built.model.n_layers > bare.model.n_layers
    silent = {
        f"L{layer}H{head}" for layer in range(built.model.n_layers) for head in range(built.model.n_heads)
    } - built.nodes
    weight = {
        layer: built.model.module.get_parameter(f"layers.{layer}.attn.o.weight")
        for layer in range(built.model.n_layers)
    }
    d_head = built.model.d_head
    loud = [
        n
        for n in silent
        if float(weight[int(n[1])][:, int(n[3:]) * d_head : (int(n[3:]) + 1) * d_head].detach().norm()) > 0.1
    ]
    assert len(loud) >= 4
    zeroed = find_circuit(built.model, prompts, "exact", options={"ablation": "zero"}).node_scores()
    corrupt = find_circuit(built.model, prompts, "exact").node_scores()
    assert max(abs(corrupt[n]) for n in silent) < 1e-3 < max(abs(zeroed[n]) for n in silent)


def test_a_program_of_ones_own_has_its_truth_worked_out() -> None:
    program = PROGRAMS["brackets"]()
    rng = torch.Generator().manual_seed(0)
    where = place(program, n_distractors=0, extra_layers=0, rng=rng)
    config, state = compile_program(program, where, n_distractors=0, rotate=False, rng=rng)
    assert config["n_layers"] == 2
    assert state["head.weight"].shape == (5, config["d_model"])
    built = build("brackets", n_distractors=0, extra_layers=0)
    assert built.edges == {
        "embed->L0H0.v", "L0H0->L0.mlp", "L0.mlp->L1H0.v", "L0.mlp->L1.mlp", "L1H0->L1.mlp", "L1.mlp->logits"
    }  # fmt: skip
    assert named(graph_of(built.model), built.edges).n_edges == 6


def test_wrong_names_and_parameters_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'reverse'"):
        build("revers")
    with pytest.raises(InputError, match="parameters"):
        build("copy", params={"depth": 3})
    with pytest.raises(InputError, match="within the steps"):
        planted("copy", [1, 10, 100], 1000)
    with pytest.raises(InputError, match="did you mean 'splice'"):
        planted("copy", [1, 10, 100], 10, kind="splices")  # type: ignore[arg-type]


STEPS = sorted({int(10 ** (x / 4)) for x in range(4, 17)})


@pytest.mark.parametrize("kind", ["splice", "ramp", "interpolate"])
@pytest.mark.parametrize("name", ["copy", "induction", "modular_sum", "duplicate"])
def test_planted_behaviour_passes_one_half_where_it_says(name: str, kind: str) -> None:
    run = planted(name, STEPS, STEPS[7], kind=kind, seed=3)  # type: ignore[arg-type]
    prompts = run.built.prompts(100, rng=torch.Generator().manual_seed(0))
    rows = torch.arange(100)
    values = []
    for _, state in run.states():
        run.built.model.swap(state)
        logits = logits_at_answer(run.built.model, prompts)
        values.append(float((logits[rows, prompts.answer] - logits[rows, prompts.wrong]).mean()))
    half = (values[0] + values[-1]) / 2
    crossing = next(i for i, value in enumerate(values) if value > half)
    assert abs(crossing - 7) <= 1
    assert values[-1] > 6
    assert run.interval == (STEPS[6], STEPS[7])


def test_a_null_run_never_forms_and_a_run_is_repeatable() -> None:
    null = planted("induction", STEPS, None, seed=4)
    prompts = null.built.prompts(100, rng=torch.Generator().manual_seed(0))
    states = dict(null.states())
    for state in states.values():
        null.built.model.swap(state)
        assert float((logits_at_answer(null.built.model, prompts).argmax(-1) == prompts.answer).float().mean()) < 0.6
    assert null.interval is None
    again = planted("induction", STEPS, None, seed=4).state(STEPS[3])
    assert all(torch.equal(tensor, again[name]) for name, tensor in states[STEPS[3]].items())
    assert not torch.equal(states[STEPS[0]]["head.weight"], states[STEPS[1]]["head.weight"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[interp.CheckpointRef]:
    """The checkpoints of a small real run."""
    root = tmp_path_factory.mktemp("checkpoints")
    recipe = yaml.safe_load((RECIPES / "grokking_mini.yaml").read_text())
    recipe |= {"sizes": {"d16": recipe["sizes"]["d16"]}, "seeds": [0], "runs": [{"settings": ["base"]}], "steps": 100}
    path = root / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    grow(planned_runs(path)[0], root)
    return interp.family("grokking_mini", root=root).checkpoints()


def test_a_spliced_run_computes_the_sum_of_its_parts(trained: list[interp.CheckpointRef]) -> None:
    ref = trained[-3]
    run = spliced("modular_sum", trained, trained[5].step, kind="ramp", seed=2)
    prompts = run.built.prompts(20, rng=torch.Generator().manual_seed(0))
    run.model.swap(run.state(ref.step))
    run.built.model.swap(run.planted.state(ref.step))
    n_pos, n_vocab = 3, run.built.model.d_vocab
    with torch.no_grad():
        own, beside = run.built.model(prompts.clean), interp.load(ref)(prompts.clean[:, :n_pos])
        both = run.model(prompts.clean)[:, :n_pos]
    assert torch.allclose(both[..., :n_vocab], own[:, :n_pos] + run.volume * beside[..., :n_vocab], atol=1e-4)
    assert run.interval == (trained[4].step, trained[5].step)
    run.model.swap(run.state(run.steps[-1]))
    exact = find_circuit(run.model, prompts, "exact").edge_scores()
    assert set(sorted(exact, key=lambda edge: -abs(exact[edge]))[: len(run.built.edges)]) == run.built.edges


@pytest.mark.parametrize(
    ("program", "place", "kind"), [("shift", 6, "ramp"), ("compare", 9, "splice"), ("last", None, "splice")]
)
def test_formation_in_a_spliced_run(
    trained: list[interp.CheckpointRef], program: str, place: int | None, kind: str
) -> None:
    run = spliced(program, trained, None if place is None else trained[place].step, kind=kind, seed=4)  # type: ignore[arg-type]
    found = track_circuit(run.model, run.states(), run.built.prompts(32, rng=torch.Generator().manual_seed(1)))
    if place is None:
        assert found.interval is None
    else:
        assert found.interval is not None
        assert abs(run.steps.index(found.interval[1]) - place) <= 1


def test_a_planted_run_is_a_family_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = planted("shift", [1, 10, 100], 100, seed=5)
    write_family(run, tmp_path, name="sown")
    refs = interp.family("sown", root=tmp_path).checkpoints()
    assert [ref.step for ref in refs] == [1, 10, 100]
    assert refs[0].manifest["truth"] == {"formed_at": 100, "interval": [10, 100], "true_edges": sorted(run.built.edges)}
    assert main(["verify", "sown", "--root", str(tmp_path)]) == 0
    model, task = interp.load(refs[-1]), interp.task(refs[-1].manifest["task"]["name"], program="shift")
    prompts = task.prompts(40, rng=torch.Generator().manual_seed(0))
    assert torch.equal(logits_at_answer(model, prompts).argmax(-1), prompts.answer)
    examples = task.splits(0)["test"]
    scored = examples.targets >= 0
    assert torch.equal(scored.sum(1), torch.ones(len(scored), dtype=torch.long))
    with torch.no_grad():
        assert torch.equal(model(examples.tokens).argmax(-1)[scored], examples.targets[scored])
    capsys.readouterr()
    asked = ["sown@step100", "interp.testbed.family:program_task:program=shift", "--n-prompts", "24", "--json"]
    assert main(["circuit", *asked, "--root", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {edge for edge, _, inside in found["circuit"]["edges"] if inside} == run.built.edges


def test_what_cannot_be_spliced_is_refused(trained: list[interp.CheckpointRef], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one run"):
        spliced("copy", [trained[0], replace(trained[1], seed=1)], None)
    config = json.loads((trained[0].path / "config.json").read_text()) | {"normalization_type": "LN"}  # type: ignore[operator]
    (tmp_path / "config.json").write_text(json.dumps(config))
    unsealed = {key: value for key, value in trained[0].manifest.items() if key != "files"}
    with pytest.raises(InputError, match="normalization_type='LN'"):
        spliced("copy", [replace(trained[0], path=tmp_path, manifest=unsealed)], None)
    with pytest.raises(InputError, match="did you mean 'majority'"):
        interp.task("interp.testbed.family:program_task", program="majorty")


def test_a_planted_lapse_is_two_presences() -> None:
    run = planted("lookup_table", range(0, 1000, 100), 200, lost_at=500, back_at=800, seed=2)
    found = track_circuit(
        run.model, run.states(), run.built.prompts(40, rng=torch.Generator().manual_seed(1)), method="eap"
    )
    truth = [((100, 200), (400, 500)), ((700, 800), None)]
    assert [(each.formed, each.lost) for each in found.intervals] == truth
    assert [(each.formed, each.lost) for each in found.strict] == truth
    assert all(each.replaced == () for each in found.intervals)


@pytest.mark.parametrize(("lost", "back"), [(100, None), (5000, None), (None, 500), (400, 300)])
def test_a_course_that_cannot_be_is_refused(lost: int | None, back: int | None) -> None:
    with pytest.raises(InputError):
        planted("lookup_table", range(0, 1000, 100), 200, lost_at=lost, back_at=back)


@pytest.mark.parametrize("steps", [(), (5, 5), (5, 3)])
def test_a_run_without_checkpoints_or_out_of_order_is_refused_and_leaves_the_weights(steps: tuple[int, ...]) -> None:
    run = planted("lookup_table", range(0, 1000, 100), 200)
    before = {name: value.clone() for name, value in run.model.module.state_dict().items()}
    with pytest.raises(InputError):
        track_circuit(
            run.model,
            ((step, run.state(0)) for step in steps),
            run.built.prompts(40, rng=torch.Generator().manual_seed(1)),
            method="eap",
        )
    assert all(torch.equal(value, before[name]) for name, value in run.model.module.state_dict().items())
