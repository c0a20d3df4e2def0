"""Interventions during training: what a recipe may say, what each kind does, and that a pair differs in nothing else."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_training import RECIPE, files, one_run
from test_training_fast import BASE, CONFIGURATIONS, PLACES, batch_of
from torch.nn.functional import cross_entropy

import interp
from interp.families.intervening import KINDS
from interp.families.planned import PlannedRun
from interp.models.native import build
from interp.training import load_recipe, planned_runs
from interp.training.edits import as_interventions, edited, layer_edits
from interp.training.fast import loss, scored
from interp.training.grow import grow
from interp.training.interventions import directions, fourier, freeze, norm, weight_norm, weights_of

WINDOW = {"from": 6, "until": 18}
ONE_OF_EACH: dict[str, dict[str, Any]] = {
    "ablate": {"kind": "ablate", "on": "L0H1", "dose": 0.5},
    "ablate mlp": {"kind": "ablate", "on": "L0.mlp"},
    "boost": {"kind": "boost", "on": "L0.attn", "dose": 2},
    "pattern": {"kind": "pattern", "on": "L0H0", "role": "previous_token", "dose": 0.5},
    "pattern placebo": {"kind": "pattern", "on": "L0H0", "role": "previous_token", "placebo": True},
    "forbid": {"kind": "forbid", "on": "L0.attn", "role": "first_token"},
    "freeze": {"kind": "freeze", "on": "embed"},
    "freeze placebo": {"kind": "freeze", "on": "L0H0", "placebo": True},
    "weight_norm": {"kind": "weight_norm", "dose": 0.9},
    "weight_norm placebo": {"kind": "weight_norm", "dose": 0.9, "placebo": True},
    "logit_scale": {"kind": "logit_scale", "dose": 3},
    "fourier": {"kind": "fourier", "frequencies": {"random": 2}, "dose": 0.5},
    "fourier placebo": {"kind": "fourier", "frequencies": [1, 3], "dose": -1, "placebo": True},
}


def under(*interventions: dict[str, Any], **changes: Any) -> PlannedRun:
    """The run d4/base/seed0 of the tiny recipe with these interventions."""
    return one_run(interventions=list(interventions), **changes)


def planned(one: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """An intervention as a run of that seed has it spelled out."""
    return dict(
        planned_runs({**RECIPE, "seeds": [seed], "interventions": [one]}, settings=["base"])[0].interventions[0]
    )


def test_every_kind_is_tried() -> None:
    assert {one["kind"] for one in ONE_OF_EACH.values()} == set(KINDS)


@pytest.mark.parametrize(
    ("one", "message"),
    [
        ({"kind": "ablte", "on": "L0H0"}, r"kind is 'ablte'; .*did you mean 'ablate'\?"),
        ({"kind": "ablate", "on": "L0H2"}, r"interventions\[0\]: unknown component .* 'L0H2'; did you mean 'L0H"),
        ({"kind": "ablate", "on": "L1.mlp"}, r"did you mean 'L0.mlp'\?"),
        ({"kind": "ablate", "on": "embed"}, "unknown component of this model for ablate 'embed'"),
        ({"kind": "ablate"}, "ablate needs `on`"),
        ({"kind": "ablate", "on": "L0H0", "dose": 1.5}, "dose is 1.5; expected a number above 0, at most 1 for ablate"),
        ({"kind": "boost", "on": "L0H0", "dose": 0}, "dose is 0.0; expected a number above 0"),
        ({"kind": "ablate", "on": "L0H0", "dosis": 1}, r"no key 'dosis'; did you mean 'dose'\?"),
        ({"kind": "ablate", "on": "L0H0", "form": 1}, r"no key 'form'; did you mean 'from'\?"),
        ({"kind": "ablate", "on": "L0H0", "from": 9, "until": 9}, "expected from < until"),
        ({"kind": "ablate", "on": "L0H0", "until": 25}, "at most the run's 24 steps"),
        ({"kind": "ablate", "on": "L0H0", "from": -1}, r"interventions\[0\].from is -1"),
        ({"kind": "ablate", "on": "L0H0", "role": "uniform"}, "ablate has no key 'role'"),
        (
            {"kind": "ablate", "on": "L0.mlp", "placebo": True},
            "no placebo: the model has no other component like L0.mlp",
        ),
        ({"kind": "pattern", "on": "L0H0"}, "pattern needs either a role or an offset"),
        ({"kind": "pattern", "on": "L0H0", "role": "previous"}, r"did you mean 'previous_token'\?"),
        ({"kind": "pattern", "on": "L0H0", "offset": 3}, "offset is 3; the model has 3 positions"),
        ({"kind": "forbid", "on": "L0H0", "role": "uniform"}, "forbid needs a place"),
        ({"kind": "logit_scale"}, "logit_scale needs a dose"),
        ({"kind": "logit_scale", "dose": 2, "on": "embed"}, "logit_scale is on no component"),
        ({"kind": "logit_scale", "dose": 2, "placebo": True}, "logit_scale has no placebo"),
        ({"kind": "fourier", "dose": 0.1}, "fourier needs frequencies"),
        ({"kind": "fourier", "dose": 0, "frequencies": [1]}, "a number from -1 to 1, not 0"),
        ({"kind": "fourier", "dose": 0.1, "frequencies": [4]}, "frequency 4 is none of 1 to 3"),
        ({"kind": "fourier", "dose": 0.1, "frequencies": {"random": 3}}, "less than the 3 that there are modulo 7"),
        ({"kind": "fourier", "dose": 0.1, "frequencies": [1, 2, 3]}, "all frequencies modulo 7"),
        ({"kind": "fourier", "dose": 0.1, "frequencies": "all"}, "expected a list of frequencies"),
    ],
)
def test_a_wrong_intervention_is_one_clear_message(one: dict[str, Any], message: str) -> None:
    with pytest.raises(interp.InputError, match=message):
        load_recipe({**RECIPE, "interventions": [one]})
    with pytest.raises(interp.InputError, match=message) as caught:
        load_recipe({**RECIPE, "settings": {"base": {"interventions": [one]}}})
    assert "settings.base" in str(caught.value)


def test_a_setting_has_its_own_or_the_recipe_s() -> None:
    own = {"kind": "logit_scale", "dose": 2}
    recipe = {**RECIPE, "interventions": [own], "settings": {"base": {"interventions": []}, "as_recipe": {}}}
    found = {run.setting: run.interventions for run in planned_runs(recipe)}
    assert found["base"] == ()
    assert found["as_recipe"] == ({"kind": "logit_scale", "from": 0, "until": 24, "dose": 2.0},)


def test_a_run_without_interventions_is_what_it_was() -> None:
    """Digests of before there were any: stored families stay what they are."""
    assert one_run().digest == "f498e6a355168b2a37f77454546e0f045e2a3fd8628a4d4218ffdfa4fe728a18"
    assert one_run(batch=5).digest == "730de7b85fdbb7217c30fd7a1e9e3b05c322fe9723a3002dc11ccb1def77deb0"
    assert under().digest == one_run().digest
    assert (
        len({under({**one, **WINDOW}).digest for one in ONE_OF_EACH.values()} | {one_run().digest})
        == len(ONE_OF_EACH) + 1
    )


def test_a_placebo_is_drawn_by_seed_and_not_by_dose() -> None:
    clamp = {"kind": "pattern", "on": "L0H0", "role": "previous_token", "placebo": True}
    recipe = {**RECIPE, "task": {"name": "induction", "params": {"vocab_size": 24, "length": 26}}, "settings": {}}
    drawn = []
    for seed in range(12):
        runs = [
            planned_runs(
                {**recipe, "settings": {"base": {"interventions": [{**clamp, "dose": dose}]}}, "seeds": [seed]}
            )
            for dose in (0.5, 1.0)
        ]
        weak, strong = (found[0].interventions[0] for found in runs)
        assert {**weak, "dose": 1.0} == strong
        assert strong["placebo"] == {"offset": 1}
        drawn.append(strong["offset"])
    assert set(drawn) <= set(range(2, 8))
    assert len(set(drawn)) > 2
    assert planned({"kind": "freeze", "on": "L0H0", "placebo": True})["on"] == ["L0H1"]
    assert planned({"kind": "pattern", "on": "L0H0", "role": "previous_token", "placebo": True})["offset"] == 2


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_pair_shares_everything_up_to_the_first_step_under_it(name: str, tmp_path: Path) -> None:
    """Initialisation, split and data order are the seed's, so checkpoints are bit-equal up to and at `from`."""
    for batch in ("full", 5):
        base, run = one_run(batch=batch), under({**ONE_OF_EACH[name], **WINDOW}, batch=batch)
        grow(base, tmp_path / f"base{batch}")
        grow(run, tmp_path / f"under{batch}")
        for step in base.schedule:
            plain, other = (
                load_file(one.folder(tmp_path / f"{where}{batch}") / f"step{step}" / "model.safetensors")
                for one, where in ((base, "base"), (run, "under"))
            )
            same = all(torch.equal(plain[key], other[key]) for key in plain)
            assert same == (step <= 6), step
    manifest = json.loads((run.folder(tmp_path / "under5") / "step24" / "manifest.json").read_text())
    assert manifest["interventions"] == list(run.interventions)
    assert "interventions" not in json.loads((base.folder(tmp_path / "base5") / "step24" / "manifest.json").read_text())


def test_a_store_of_other_interventions_is_refused(tmp_path: Path) -> None:
    grow(under({**ONE_OF_EACH["ablate"], **WINDOW}), tmp_path)
    for other in (one_run(), under({**ONE_OF_EACH["ablate"], **WINDOW, "dose": 0.25})):
        with pytest.raises(interp.InputError, match=r"another recipe .*interventions was .*'dose': 0.5"):
            grow(other, tmp_path)


@pytest.mark.parametrize("seed", range(2))
def test_a_run_cut_in_the_middle_of_interventions_ends_in_the_same_bytes(seed: int, tmp_path: Path) -> None:
    import interp.training.checkpoint as checkpoint

    run, rng = under(*({**one, "from": 3, "until": 20} for one in ONE_OF_EACH.values()), batch=5), random.Random(seed)
    grow(run, tmp_path / "calm")
    real = checkpoint._replace

    class Cut(Exception):
        pass

    cuts = 0
    with pytest.MonkeyPatch.context() as patch:
        while cuts < 5:
            left = rng.randrange(4, 9)

            def cut(path: Path, content: bytes) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    raise Cut
                real(path, content)

            patch.setattr(checkpoint, "_replace", cut)
            try:
                grow(run, tmp_path / "cut")
                break
            except Cut:
                cuts += 1
    grow(run, tmp_path / "cut")
    assert cuts > 1
    assert files(tmp_path / "cut") == files(tmp_path / "calm")


MANY: list[dict[str, Any]] = [
    {"kind": "pattern", "on": ["L0H0", "L0H2"], "dose": 0.3, "offset": 1},
    {"kind": "forbid", "on": ["L0H1", "L0H0"], "dose": 1.0, "offset": 0},
    {"kind": "forbid", "on": ["L0H1"], "dose": 1.0, "offset": 1},
    {"kind": "ablate", "on": ["L0H2", "L0.mlp"], "dose": 0.7},
    {"kind": "boost", "on": ["L0.attn"], "dose": 0.5},
    {"kind": "pattern", "on": ["L0H2"], "dose": 0.5, "role": "uniform"},
    {"kind": "forbid", "on": ["L0H2"], "dose": 0.4, "role": "first_token"},
]


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_fast_step_has_the_gradients_of_the_edited_module(name: str, places: str) -> None:
    config = {**BASE, **CONFIGURATIONS[name]}
    module = build(config, seed=0).double().train()
    edits = layer_edits([one for one in MANY if not (config.get("attn_only") and "L0.mlp" in one["on"])], config)
    for n in (3, 60):
        batch, found = batch_of(n, PLACES[places], config["d_vocab_out"]), []
        real = batch.targets >= 0
        for how in ("module", "fast"):
            module.zero_grad()
            if how == "module":
                with edited(module, edits):
                    value = cross_entropy(2 * module(batch.tokens)[real], batch.targets[real])
            else:
                part = scored(batch, causal=config.get("attention_dir") != "bidirectional")
                value = loss(module, part, edits=edits, scale=2.0)
            value.backward()
            found.append(
                (value.item(), [torch.zeros(1) if p.grad is None else p.grad.clone() for p in module.parameters()])
            )
        (plain, expected), (fast, got) = found
        single = config["normalization_type"] in ("RMS", "LNPre")  # TransformerLens computes these norms in float32
        assert fast == pytest.approx(plain, abs=1e-6 if single else 1e-10)
        for one, other in zip(expected, got, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-3 if single else 1e-7, atol=1e-5 if single else 1e-10)


def test_an_edited_module_is_the_module_under_the_library_s_own_interventions() -> None:
    """Ablating scales z, clamping sets the pattern, forbidding takes a place away and renormalises: patterns by
    `interp.capture`, logits by `interp.intervene`."""
    module = build({**BASE, "normalization_type": "LN"}, seed=3)
    model, tokens = interp.wrap(module), batch_of(5, [8], 7).tokens
    own = interp.capture(model, tokens, sites=("pattern",))["pattern"][0]  # prompt head query key

    def logits(*acting: dict[str, Any]) -> torch.Tensor:
        edits = layer_edits(acting, BASE)
        with torch.no_grad(), edited(module, edits):
            found = module(tokens)
        torch.testing.assert_close(interp.intervene(model, tokens, as_interventions(edits, 9)), found)
        return found

    def changed(**change: Any) -> torch.Tensor:
        return interp.intervene(model, tokens, [interp.Intervention(layer=0, **change)])

    half = logits({"kind": "ablate", "on": ["L0H1"], "dose": 0.5})
    torch.testing.assert_close(half, changed(site="z", heads=1, kind="scale", value=0.5))
    more = logits({"kind": "boost", "on": ["L0.mlp"], "dose": 0.5})
    torch.testing.assert_close(more, changed(site="mlp_out", kind="scale", value=1.5))
    previous = torch.diag(torch.ones(8), -1)
    previous = torch.where(torch.arange(9)[:, None] == 0, own[:, 1], previous)  # the first token has none before it
    clamped = logits({"kind": "pattern", "on": ["L0H1"], "dose": 1.0, "offset": 1})
    torch.testing.assert_close(clamped, changed(site="pattern", heads=1, value=previous[:, None]))
    mixed = logits({"kind": "pattern", "on": ["L0H1"], "dose": 0.25, "offset": 1})
    mixture = (0.75 * own[:, 1] + 0.25 * previous)[:, None]
    torch.testing.assert_close(mixed, changed(site="pattern", heads=1, value=mixture))
    for dose in (0.5, 1.0):
        less = own[:, 1] * (1 - dose * torch.eye(9))
        less[:, 0] = own[:, 1, 0]  # the first token has nothing else to attend to
        less = less / less.sum(-1, keepdim=True)
        found = logits({"kind": "forbid", "on": ["L0H1"], "dose": dose, "offset": 0})
        torch.testing.assert_close(found, changed(site="pattern", heads=1, value=less[:, None]))
    assert torch.equal(interp.capture(model, tokens, sites=("pattern",))["pattern"][0], own)  # left as found


def moved(act: Any, one: dict[str, Any], module: Any, *, size: float = 0.1) -> None:
    """One step under an intervention on weights, in which the optimiser adds `size` to every weight."""
    then = act(module, one, one["from"], {}, "name")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size)
        then()


def test_what_is_frozen_stays_and_the_rest_moves() -> None:
    for name in ("L0H1", "L0.mlp", "embed", "unembed"):
        for dose in (0.25, 1.0):
            module, as_built = build(BASE, seed=0), build(BASE, seed=0)
            moved(freeze, {"on": [name], "dose": dose, "from": 0}, module)
            for part, was in zip(weights_of(module, [name]), weights_of(as_built, [name]), strict=True):
                torch.testing.assert_close(part, was + 0.1 * (1 - dose), atol=0 if dose == 1 else 1e-6, rtol=0)
            n_moved = sum(int((p != q).sum()) for p, q in zip(module.parameters(), as_built.parameters(), strict=True))
            held = sum(part.numel() for part in weights_of(module, [name])) if dose == 1 else 0
            assert n_moved == sum(p.numel() for p in module.parameters()) - held


def test_heads_that_share_keys_share_their_weights() -> None:
    module = build({**BASE, "n_key_value_heads": 1}, seed=0)
    one, other = weights_of(module, ["L0H0"]), weights_of(module, ["L0H2"])
    assert [a.data_ptr() == b.data_ptr() for a, b in zip(one, other, strict=True)] == [False] * 2 + [True] * 4 + [False]


def test_the_norm_is_held_and_its_placebo_goes_as_far() -> None:
    for dose in (0.5, 1.0, 2.0):
        module, plain, random_way = (build(BASE, seed=0) for _ in range(3))
        one = {"on": ["all"], "dose": dose, "from": 4}
        before = norm(weights_of(plain, ["all"]))
        moved(lambda *_: lambda: None, one, plain)
        moved(weight_norm, one, module)
        moved(weight_norm, {**one, "placebo": {}, "stream": 5}, random_way)
        torch.testing.assert_close(norm(weights_of(module, ["all"])), dose * before)
        distances = [
            norm([a - b for a, b in zip(weights_of(other, ["all"]), weights_of(plain, ["all"]), strict=True)])
            for other in (module, random_way)
        ]
        torch.testing.assert_close(distances[0], distances[1], rtol=1e-4, atol=1e-6)


def test_the_norm_of_a_run_is_what_it_was_at_the_first_step(tmp_path: Path) -> None:
    run = under({"kind": "weight_norm", "dose": 0.75, **WINDOW})
    grow(run, tmp_path)

    def of(step: int) -> float:
        stored = load_file(run.folder(tmp_path) / f"step{step}" / "model.safetensors")
        return norm(list(stored.values())).item()

    assert of(12) == pytest.approx(0.75 * of(6), rel=1e-6)
    assert of(18) == pytest.approx(0.75 * of(6), rel=1e-6)
    assert of(24) != pytest.approx(0.75 * of(6), rel=1e-6)


def share_on(basis: torch.Tensor, weight: torch.Tensor) -> float:
    """The share of the embeddings' squared norm about their mean that lies on the directions."""
    about = weight[: basis.shape[1]] - weight[: basis.shape[1]].mean(0)
    return float((basis @ about).norm() ** 2 / about.norm() ** 2)


@pytest.mark.parametrize("asked", [[1, 3], [2]])
def test_fourier_moves_the_embedding_onto_its_frequencies_or_off_them(asked: list[int]) -> None:
    for way in ("frequencies", "placebo"):
        run = planned({"kind": "fourier", "frequencies": asked, "dose": 1, "placebo": way == "placebo"})
        basis = directions(run)
        assert basis.shape == (2 * len(asked), 7)
        torch.testing.assert_close(basis @ basis.mT, torch.eye(len(basis)))
        torch.testing.assert_close(basis.sum(1), torch.zeros(len(basis)), atol=1e-5, rtol=0)
        at_first = build(one_run().model, seed=0).tok_embed.weight.detach()
        start = share_on(basis, at_first)
        for dose in (1.0, 0.5, -0.5, -1.0):
            module = build(one_run().model, seed=0)
            moved(fourier, {**run, "dose": dose}, module)
            weight = module.tok_embed.weight.detach()
            kept = 1 - abs(dose)
            on, off = (start, (1 - start) * kept**2) if dose > 0 else (start * kept**2, 1 - start)
            assert share_on(basis, weight) == pytest.approx(on / (on + off), abs=1e-5)
            rows, was = weight[:7], at_first[:7] + 0.1
            torch.testing.assert_close(rows.mean(0), was.mean(0))
            torch.testing.assert_close((rows - rows.mean(0)).norm(), (was - was.mean(0)).norm())
            torch.testing.assert_close(weight[7], at_first[7] + 0.1)  # "=" is no number


def test_the_logit_scale_is_a_temperature_of_the_loss_alone(tmp_path: Path) -> None:
    """Twice the scale on a head of half the size: the same loss, and gradients of the head twice as large."""
    module, batch = build(BASE, seed=0).double(), batch_of(6, [8], 7)
    value = loss(module, scored(batch), scale=2.0)
    value.backward()
    assert module.head.weight.grad is not None
    gradient = module.head.weight.grad.clone()
    with torch.no_grad():
        module.head.weight.mul_(2)
    module.zero_grad()
    other = loss(module, scored(batch))
    other.backward()
    torch.testing.assert_close(value, other)
    torch.testing.assert_close(gradient, 2 * module.head.weight.grad)


def test_behaviour_is_measured_under_the_interventions_of_the_step(tmp_path: Path) -> None:
    """What a run learns with a clamped head it does with a clamped head: `…_under` beside the plain measures."""
    clamp = {"kind": "pattern", "on": "L0.attn", "role": "current_token", **WINDOW}
    recipe = {**RECIPE, "seeds": [0], "runs": [{"sizes": ["d4"], "settings": ["base"]}], "interventions": [clamp]}
    run = planned_runs(recipe)[0]
    grow(run, tmp_path)
    experiment = {
        "name": "under", "families": [{"name": "tiny"}], "tasks": [{"name": "modular_addition", "n_prompts": 8}],
        "measures": ["log_prob", "log_prob_under", "exact_match_under"],
    }  # fmt: skip
    path = tmp_path / "under.json"
    path.write_text(json.dumps(experiment))
    interp.run_experiment(path, tmp_path / "out", root=tmp_path, workers=1)
    table = interp.read_table(tmp_path / "out").pivot(index="step", columns="measure", values="value")
    same = table["log_prob"] == table["log_prob_under"]
    assert [step for step in table.index if not same[step]] == [step for step in run.schedule if 6 < step <= 18]
    assert table["exact_match_under"].between(0, 1).all()
