"""When a circuit formed: planted runs, causality, and roles."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp.circuits import Circuit, Graph, find_circuit, named
from interp.circuits._attribution import choose
from interp.circuits.formation import ROLES, applied_backwards, edges_between, role_scores, track_circuit
from interp.circuits.formation.track import formation_of, snapshot, split
from interp.circuits.formation.tracked import chosen_edges
from interp.circuits.testing.faithfulness import of_circuit
from interp.table.forming import THRESHOLD, first_lasting, similarity, when_formed
from interp.testbed import build, planted
from interp.testbed.built import build_program
from interp.testbed.programs.gates import GATES

STEPS = sorted({int(10 ** (x / 3)) for x in range(3, 13)})


@pytest.mark.parametrize("kind", ["splice", "ramp", "interpolate"])
@pytest.mark.parametrize(("name", "place"), [("caesar", 5), ("induction", 7)])
def test_planted_formation_is_found_where_it_was_planted(name: str, place: int, kind: str) -> None:
    run = planted(name, STEPS, STEPS[place], kind=kind, seed=place)  # type: ignore[arg-type]
    prompts = run.built.prompts(48, rng=torch.Generator().manual_seed(1))
    before = {n: t.clone() for n, t in run.built.model.module.state_dict().items()}
    found = track_circuit(run.built.model, run.states(), prompts)
    assert found.interval is not None
    assert found.band is not None
    assert abs(STEPS.index(found.interval[1]) - place) <= 1
    assert found.band[1] >= found.interval[1]
    assert found.share > 0.95
    assert all(torch.equal(t, before[n]) for n, t in run.built.model.module.state_dict().items())


def test_nothing_forms_in_null_runs_and_the_past_does_not_depend_on_the_future() -> None:
    for seed, name in enumerate(("reverse", "modular_sum", "duplicate")):
        null = planted(name, STEPS, None, seed=seed)
        found = track_circuit(
            null.built.model, null.states(), null.built.prompts(48, rng=torch.Generator().manual_seed(1))
        )
        assert found.interval is None
        assert found.band is None
        assert found.share < 0.05
    run = planted("induction", STEPS, STEPS[4], seed=1)
    prompts = run.built.prompts(48, rng=torch.Generator().manual_seed(1))
    whole = track_circuit(run.built.model, run.states(), prompts)
    assert whole.declared_at == STEPS[5]
    upto = formation_of([snap for snap in whole.snapshots if snap.step <= whole.declared_at])
    assert upto.interval == whole.interval == run.interval
    assert formation_of([snap for snap in whole.snapshots if snap.step < STEPS[4]]).interval is None
    final = whole.snapshots[-1]
    assert set(final.circuit.edges()) == run.built.edges
    assert final.similarity > 0.8 > 0.5 > whole.snapshots[4].similarity
    assert math.isnan(whole.snapshots[0].similarity)
    edge = next(edge for edge in run.built.edges if edge.endswith("->logits"))
    trajectory = whole.edge_scores(edge)
    assert abs(trajectory[STEPS[2]]) < 1 < trajectory[STEPS[6]]
    rows = whole.node_rows()
    assert len(rows) == len(STEPS) * len(run.built.model and final.circuit.graph.writers)
    back = applied_backwards(run.built.model, run.states(), prompts, named(final.circuit.graph, run.built.edges))
    assert back[STEPS[-1]] == pytest.approx(1, abs=0.05)
    mover = edge.split("->")[0]
    assert final.roles["induction"] == (mover, pytest.approx(1, abs=0.1))
    assert whole.snapshots[0].roles["induction"][1] < 0.7


def test_lasting_places() -> None:
    assert first_lasting(np.array([0.1, 0.9, 0.1, 0.9, 0.9]), 0.5) == 3
    assert first_lasting(np.array([0.1, 0.1, 0.9]), 0.5) == 2
    assert first_lasting(np.array([0.1, 0.2]), 0.5) is None


def test_roles_of_a_hand_set_induction_circuit() -> None:
    built = build("induction", seed=3)
    prompts = built.prompts(32, rng=torch.Generator().manual_seed(0))
    scores = role_scores(built.model, prompts)
    assert set(scores) == set(ROLES)
    mover = next(edge.split("->")[0] for edge in built.edges if edge.endswith("->logits"))
    before = next(edge.split("->")[0] for edge in built.edges if edge.endswith(f"->{mover}.k"))

    def score(role: str, head: str) -> float:
        layer, _, index = head[1:].partition("H")
        return float(scores[role][int(layer), int(index)])

    assert score("induction", mover) > 0.95
    assert score("answer", mover) > 0.95
    assert score("previous", before) > 0.95
    assert score("induction", before) < 0.5  # the token after is the previous one now and then
    assert find_circuit(built.model, prompts).graph.n_layers == scores["first"].shape[0]


# what was stored says the same as the models


@given(st.data())
def test_the_time_of_formation_uses_nothing_after_it_was_declared(data: st.DataObject) -> None:
    n_steps, n_prompts, seed = (data.draw(st.integers(*bounds)) for bounds in ((2, 12), (1, 9), (0, 10**6)))
    rng = np.random.default_rng(seed)
    carried = rng.random((n_steps, n_prompts)) < rng.random((n_steps, 1))
    steps = sorted(rng.choice(1000, size=n_steps, replace=False).tolist())
    when = when_formed(steps, carried, n_resamples=20)
    assert 0 <= when.share <= 1
    assert when_formed(steps, carried[:, rng.permutation(n_prompts)], n_resamples=20).interval == when.interval
    if when.interval is None:
        assert (when.band, when.declared_at) == (None, None)
        return
    known = steps.index(when.declared_at) + 1
    assert when_formed(steps[:known], carried[:known], n_resamples=20).interval == when.interval
    above = carried.mean(1) >= THRESHOLD
    assert above[steps.index(when.interval[1])]
    assert not (above[1:] & above[:-1])[: steps.index(when.interval[1])].any()


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(-5, 5), min_size=1), st.floats(0.1, 10))
def test_similarity_is_one_with_itself_and_knows_neither_sign_nor_order_nor_common_scale(
    scores: dict[str, float], scale: float
) -> None:
    other = {"a": 1.0, "z": 2.0}
    assert similarity(scores, other) == similarity(other, {name: -value for name, value in scores.items()})
    assert similarity({n: scale * v for n, v in scores.items()}, {n: scale * v for n, v in other.items()}) == (
        pytest.approx(similarity(scores, other))
    )
    assert math.isnan(similarity(scores, scores)) or similarity(scores, scores) == 1
    assert math.isnan(similarity({}, {"a": 0.0}))


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_the_best_edges_lie_between_the_best_nodes(kv_heads: int) -> None:
    graph = Graph(n_layers=2, n_heads=4, n_kv_heads=kv_heads)
    rng = torch.Generator().manual_seed(kv_heads)
    nodes = torch.randn(len(graph.writers), generator=rng)
    by_node = Circuit(graph=graph, scores=torch.full(graph.edges.shape, torch.nan), included=graph.edges, nodes=nodes)
    between = edges_between(by_node)
    assert edges_between(between) is between
    size = dict(zip(graph.writers, nodes.abs().tolist(), strict=True))
    most = max(size.values())
    size |= {"embed": most, "logits": most}
    scores = between.edge_scores()
    assert len(scores) == int(graph.edges.sum())
    for edge, score in scores.items():
        source, _, target = edge.partition("->")
        end, _, slot = target.partition(".")
        heads = [end]
        if slot in ("k", "v"):
            group, first = 4 // kv_heads, int(end[3:]) * 4 // kv_heads
            heads = [f"{end[:3]}{first + place}" for place in range(group)]
        reader = size[target] if target in size else max(size[head] for head in heads)
        assert score == pytest.approx(min(size[source], reader))


def test_what_is_stored_of_a_snapshot_gives_it_back() -> None:
    built = build("induction", seed=1)
    prompts = built.prompts(32, rng=torch.Generator().manual_seed(0))
    for method in ("eap-ig", "patching"):
        snap = snapshot(built.model, 5, prompts, method=method)
        stored = json.loads(json.dumps(snap.to_json()))
        plain = find_circuit(built.model, split(prompts)[0], method)
        assert chosen_edges(plain, stored).edges() == snap.circuit.edges() == stored["edges"]
        assert stored["carried"] == snap.carried.astype(int).tolist()
        assert of_circuit(built.model, split(prompts)[0], snap.circuit) >= 0.8
        assert stored["passes"] > 2 * plain.about["passes"]


def test_the_noise_floor_is_the_agreement_of_the_two_halves() -> None:
    built = build("caesar", seed=2)
    half = built.prompts(8, rng=torch.Generator().manual_seed(0))
    twice = choose(half, torch.arange(8).repeat_interleave(2))  # every other prompt: the same eight twice
    assert snapshot(built.model, 0, twice, method="eap").noise_floor == pytest.approx(1)
    mixed = built.prompts(16, rng=torch.Generator().manual_seed(0))
    a, b = (find_circuit(built.model, part, "eap") for part in split(mixed))
    assert snapshot(built.model, 0, mixed, method="eap").noise_floor == pytest.approx(a.similarity(b), rel=1e-4)


def test_formation_is_found_by_scores_of_nodes_too() -> None:
    run = planted("induction", STEPS, STEPS[6], kind="splice", seed=3)
    prompts = run.built.prompts(48, rng=torch.Generator().manual_seed(1))
    found = track_circuit(run.built.model, run.states(), prompts, method="patching")
    assert found.interval is not None
    assert abs(STEPS.index(found.interval[1]) - 6) <= 1
    assert set(found.snapshots[-1].circuit.edges()) & run.built.edges
    null = planted("induction", STEPS, None, seed=3)
    assert track_circuit(null.built.model, null.states(), prompts, method="patching").interval is None


def test_a_head_that_joins_is_no_replacement_and_one_that_takes_over_is() -> None:
    """An OR of two heads: the second comes beside the first, or in its place; behaviour stays the same."""
    gate = GATES["or_two"]()
    built = build_program(gate.program, seed=0)
    model, layer = built.model, built.placement.layer_of[0]
    first, second = built.placement.slot_of[0]
    finished = {name: value.clone() for name, value in model.module.state_dict().items()}

    def without(*heads: int) -> dict[str, torch.Tensor]:
        weights = {name: value.clone() for name, value in finished.items()}
        out = weights[f"layers.{layer}.attn.o.weight"]
        for head in heads:
            part = slice(head * model.d_head, (head + 1) * model.d_head)
            out[:, part] = 0.01 * torch.randn(out[:, part].shape, generator=torch.Generator().manual_seed(head))
        return weights

    prompts = built.prompts(64, rng=torch.Generator().manual_seed(1))
    nothing, one, other = without(first, second), without(second), without(first)
    course = [nothing, one, one, other, other, one, one, nothing, nothing, other, other]
    states = [(100 * place, weights) for place, weights in enumerate(course)]
    there, again = track_circuit(model, states, prompts, n_resamples=5).intervals
    assert (there.formed, there.lost, there.replaced) == ((0, 100), (600, 700), ((200, 300), (400, 500)))
    assert (again.formed, again.lost, again.replaced) == ((800, 900), None, ())  # after a lapse: nothing to be replaced
    for after, replaced in ((finished, ()), (without(first), ((200, 300),))):
        course = [without(first, second), *[without(second)] * 2, *[after] * 2]
        states = [(100 * place, weights) for place, weights in enumerate(course)]
        (presence,) = track_circuit(model, states, prompts, n_resamples=5).intervals
        assert (presence.formed, presence.lost, presence.replaced) == ((0, 100), None, replaced)
