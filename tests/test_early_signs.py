"""Proposed early signs, against closed forms: the commutator defect, the edge of an update, the logit scale, quantiles."""

import math

import numpy as np
import pytest
import torch
from observed import adding, look, native, shortened

import interp
from interp.errors import InputError
from interp.indicators._loss import gradient, mean_loss, parameters, rows
from interp.indicators.commutator_defect import defect
from interp.indicators.train_log_prob_quantiles import train_log_prob_quantiles
from interp.indicators.update_edge import edge
from interp.measure.observe import measure
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
    rng = torch.Generator().manual_seed(rank)
    left, _ = torch.linalg.qr(torch.randn(40, rank, generator=rng, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(40, rank, generator=rng, dtype=torch.float64))
    noise = torch.randn(40, 40, generator=rng, dtype=torch.float64) / 40**0.5  # largest singular value near 2
    found = edge(100 * left @ right.T + noise)
    assert 100 / 2.5 < found < 100 / 1.4
    assert edge(noise) < 1.4, "noise alone has none, though its smallest singular values lie far apart"
    assert found == pytest.approx(edge(7 * (100 * left @ right.T + noise))), "nor does its length matter"


def test_an_isotropic_update_has_edge_one_and_a_rank_one_update_none():
    assert edge(torch.eye(6, dtype=torch.float64)) == pytest.approx(1)
    assert math.isnan(edge(torch.outer(torch.ones(6), torch.arange(6.0)).double()))
    assert math.isnan(edge(torch.zeros(3, 4, dtype=torch.float64)))


def test_the_edge_is_of_what_changed_since_the_checkpoint_before():
    model, task = adding()
    before = look(native(task, seed=3), task, ["update_edge"])
    obs = look(model, task, ["update_edge"], previous=before)
    found = one(obs, "update_edge")
    assert set(found) == {"embed", "logits", "L0", "L0.mlp"}
    change = (obs["weights"][f"{model.sites.embed}.weight"] - before["weights"][f"{model.sites.embed}.weight"]).double()
    assert found["embed"] == pytest.approx(edge(change))
    same = one(look(model, task, ["update_edge"], previous=look(model, task, ["update_edge"])), "update_edge")
    assert all(math.isnan(value) for value in same.values()), "nothing changed"


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
