"""Proposed early signs, against closed forms: the commutator defect, the edge of an update, the logit scale, quantiles."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from observed import adding, look, native, shortened

import interp
from interp.engine.recorder import Recorder
from interp.errors import InputError
from interp.indicators._loss import gradient, mean_loss, parameters, rows
from interp.indicators.commutator_defect import defect
from interp.indicators.spectral_edge import edge, spectral_edge
from interp.indicators.train_log_prob_quantiles import train_log_prob_quantiles
from interp.measure.observe import measure, trimmed
from interp.measure.scoring import log_softmax
from interp.seeds import generator


def one(obs, name, **params):
    found, failures = measure(obs, [(name, params)])
    assert failures == []
    return {row["component"]: row["value"] for row in found}


def symmetric(seed, n=6):
    half = torch.randn(n, n, generator=generator(seed), dtype=torch.float64)
    return half + half.T


def quadratic(matrix):
    return lambda point: 0.5 * point["w"] @ matrix @ point["w"]


def test_quadratics_whose_hessians_commute_have_no_defect():
    a, w = symmetric(0), {"w": torch.randn(6, generator=generator(1), dtype=torch.float64)}
    assert defect(quadratic(a), quadratic(a @ a + 3 * a), w, 1e-3) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("step", [1e-4, 1e-2, 0.3])
def test_the_defect_of_two_quadratics_is_that_of_the_commutator_of_their_hessians(step):
    a, b, w = symmetric(0), symmetric(1), torch.randn(6, generator=generator(2), dtype=torch.float64)
    expected = float(((a @ b - b @ a) @ w).norm() / ((a @ w).norm() * (b @ w).norm()))
    assert expected > 0.1
    assert defect(quadratic(a), quadratic(b), {"w": w}, step) == pytest.approx(expected, rel=1e-8)


def test_the_defect_is_the_distance_between_the_two_orders_of_steps():
    """θ_AB and θ_BA walked as they are defined, in a model."""
    task = shortened(interp.task("modular_addition", p=5, train_fraction=0.6), 8)
    model = native(task, d_model=4, n_heads=1, act_fn="gelu")
    model.module.double()
    point, batch, step = parameters(model), task.splits(0)["train"], 0.05
    a, b = (mean_loss(model, rows(batch, torch.arange(start, start + 4))) for start in (0, 4))

    def walk(first, second):
        there = point
        for loss in (first, second):
            slope = gradient(loss, there)[1]
            there = {name: there[name] - step * slope[name] for name in there}
        return torch.cat([value.flatten() for value in there.values()])

    lengths = [
        step * float(torch.cat([g.flatten() for g in gradient(loss, point)[1].values()]).norm()) for loss in (a, b)
    ]
    expected = float((walk(a, b) - walk(b, a)).norm()) / math.prod(lengths)
    assert defect(a, b, point, step) == pytest.approx(expected, rel=1e-9)


def test_flat_losses_and_single_sequences_have_no_defect():
    w = {"w": torch.zeros(6, dtype=torch.float64)}
    assert math.isnan(defect(quadratic(symmetric(0)), quadratic(symmetric(1)), w, 1e-3))
    model, _ = adding()
    lonely = shortened(interp.task("modular_addition", p=7, train_fraction=0.5), 1)
    assert math.isnan(one(look(model, lonely, ["commutator_defect"]), "commutator_defect")[""])


def test_the_defect_says_what_it_costs():
    model, task = adding()
    obs = look(model, task, ["commutator_defect"])
    found, _ = measure(obs, [("commutator_defect", {"pairs": 2, "batch_size": 4})])
    tokens = obs.splits["train"].tokens.shape[1]
    assert found[0]["cost"] == pytest.approx(3 * 4 * 2 * 4 * tokens / obs.prompts.clean.numel())


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_the_edge_of_directions_in_noise_lies_where_they_end(rank):
    """Ten updates that share `rank` directions, all equally strong, in noise."""
    rng = torch.Generator().manual_seed(rank)
    left, _ = torch.linalg.qr(torch.randn(10, rank, generator=rng, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(4000, rank, generator=rng, dtype=torch.float64))
    noise = torch.randn(10, 4000, generator=rng, dtype=torch.float64) / 4000**0.5  # singular values within 5 % of 1
    found = edge(100 * left @ right.T + noise)
    assert found == pytest.approx(100, rel=0.1)
    assert edge(noise) < 1.05, "noise alone has none"
    assert found == pytest.approx(edge(7 * (100 * left @ right.T + noise))), "nor does the updates' length matter"


def test_the_edge_is_the_largest_ratio_of_neighbouring_singular_values():
    assert edge(torch.eye(6, dtype=torch.float64)) == pytest.approx(1)
    assert edge(torch.diag(torch.tensor([12.0, 6.0, 2.0, 1.5], dtype=torch.float64))) == pytest.approx(3)
    assert math.isnan(edge(torch.outer(torch.ones(6), torch.arange(6.0)).double())), "one direction, nothing behind it"
    assert math.isnan(edge(torch.zeros(3, 4, dtype=torch.float64)))


def at_points(points):
    """Observations of a run whose weights are given one after the other, the last with the others in its window."""
    model, task = adding()
    obs = look(model, task, ["spectral_edge"])
    name = next(iter(obs["weights"]))
    *window, now = [replace(obs, kept={**obs.kept, "weights": {name: point}}) for point in points]
    return replace(now, window=tuple(window))


def test_the_edge_is_of_the_updates_of_the_window():
    rng = torch.Generator().manual_seed(0)
    updates = torch.randn(10, 30, generator=rng)
    points = torch.cat([torch.zeros(1, 30), updates.cumsum(dim=0)])
    values = torch.linalg.svdvals(updates)
    assert one(at_points(points), "spectral_edge")[""] == pytest.approx(
        float((values[:-1] / values[1:]).max()), rel=1e-4
    )
    values = torch.linalg.svdvals(updates[-3:])
    expected = float((values[:-1] / values[1:]).max())
    assert one(at_points(points), "spectral_edge", updates=3)[""] == pytest.approx(expected, rel=1e-4)
    assert math.isnan(one(at_points(points[1:]), "spectral_edge")[""]), "nine updates are not ten"
    assert math.isnan(one(at_points(torch.ones(11, 5)), "spectral_edge")[""]), "nothing changed"
    with pytest.raises(InputError, match="updates is 11; expected 2 to 10"):
        spectral_edge(at_points(points), updates=11)


def test_a_window_holds_what_its_measures_need_and_nothing_of_its_own_past():
    model, task = adding()
    names = ["spectral_edge", "train_loss"]
    first = look(model, task, names)
    second = look(model, task, names, window=[first])
    kept = trimmed(look(model, task, names, previous=second, window=[first, second]), ["spectral_edge"])
    assert set(kept.kept) == {"weights"}
    assert kept.previous is None
    assert kept.window == ()
    third = look(model, task, names, window=[first, second])
    assert all(other.window == () for other in third.window)


def test_a_sweep_and_a_recorder_look_back_as_far_as_they_say(tmp_path):
    """A window across stretches of work, of checkpoints that are not measured themselves too, and in a run going on."""
    recipe = {
        "name": "mini", "task": {"name": "modular_addition", "params": {"p": 5}}, "sizes": {"s": {"d_model": 8, "d_head": 4}},
        "model": {"n_layers": 1, "n_heads": 2, "d_mlp": 8, "act_fn": "relu", "normalization_type": None},
        "seeds": [0], "steps": 24, "checkpoints": {"every": 2}, "optimizer": {"name": "adamw", "lr": 1e-2},
    }  # fmt: skip
    (tmp_path / "mini.yaml").write_text(yaml.safe_dump(recipe))
    about = {
        "name": "look_back", "families": [{"recipe": str(tmp_path / "mini.yaml")}],
        "tasks": [{"name": "modular_addition", "n_prompts": 8}], "measures": ["spectral_edge"],
    }  # fmt: skip
    whole = swept(about, tmp_path, "all")
    assert list(whole.index) == list(range(0, 25, 2))
    assert whole[:20].isna().sum() == 10, "ten updates before the first edge"
    assert whole[20:].notna().all()
    about["families"][0]["steps"] = [24, 22, 2]
    some = swept(about, tmp_path, "some")
    assert some[22] == whole[22]
    assert some[24] == whole[24]
    live = Recorder(interp.task("modular_addition", p=5), ["spectral_edge"], tmp_path / "live", n_prompts=8)
    for ref in interp.family("mini", root=tmp_path / "checkpoints").checkpoints():
        found = live(interp.load(ref).module, ref.step)
    assert found["spectral_edge"] == pytest.approx(whole[24])


def swept(about, folder, name):
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(about))
    done = interp.run_experiment(path, folder / name, root=folder / "checkpoints", workers=1)
    assert not done["failures"]
    return interp.read_table(folder / name).set_index("step")["value"].sort_index()


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_the_effective_logit_scale_is_proportional_to_the_unembedding(factor):
    model, task = adding()
    found = one(look(model, task, ["effective_logit_scale"]), "effective_logit_scale")[""]
    obs = look(model, task, ["train_loss", "effective_logit_scale"])
    lengths = torch.cat([obs["train.logits"], obs["test.logits"]]).double().square().sum(dim=-1).sqrt()
    assert found == pytest.approx(float(lengths.mean()), rel=1e-6)
    with torch.no_grad():
        for name, parameter in model.module.named_parameters():
            if name.startswith(model.sites.unembed):
                parameter *= factor
    scaled = one(look(model, task, ["effective_logit_scale"]), "effective_logit_scale")[""]
    assert scaled == pytest.approx(factor * found, rel=1e-5)


def test_quantiles_are_those_of_the_training_log_probabilities():
    model, task = adding()
    obs = look(model, task, ["train_log_prob_quantiles"])
    found = one(obs, "train_log_prob_quantiles", levels=19)
    values = log_softmax(obs["train.logits"]).gather(1, obs.targets("train")[:, None])[:, 0]
    assert list(found) == [f"q{level}" for level in range(5, 100, 5)]
    assert list(found.values()) == pytest.approx(np.quantile(values.numpy(), np.arange(1, 20) / 20))
    assert list(one(obs, "train_log_prob_quantiles")) == ["q17", "q33", "q50", "q67", "q83"]
    with pytest.raises(InputError, match="levels is 0"):
        train_log_prob_quantiles(obs, levels=0)
