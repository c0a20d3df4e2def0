"""How far two gradient steps, on two mini-batches A and B of the training split, are from commuting: the commutator
defect ‖θ_AB − θ_BA‖ / (‖η g_A‖ ‖η g_B‖), θ_AB being θ − η g_A(θ) − η g_B(θ − η g_A(θ)) (Xu 2026, arXiv 2602.16967).

As published: the median over pairs of batches (5 there; 3 by default, which is cheaper) at η = .001, raised where a step
would be shorter than 1e-6, to at most 1. Here the batches of a pair share no sequence, and the distance is taken of the
gradients, of which θ_AB − θ_BA is η times a difference, so that the weights' own rounding does not enter. For small η it
is ‖H_B g_A − H_A g_B‖ / (‖g_A‖ ‖g_B‖) with the Hessians H: curvature; 0 for quadratic losses of one minimum whose Hessians
commute. NaN for fewer than two training sequences or where a gradient is 0.

Costs four gradients of `batch_size` sequences a pair: 12 forward passes over them, a backward pass counting two.
"""

from __future__ import annotations

import math
from statistics import median

import torch

from interp.indicators._loss import Loss, Point, dot, gradient, mean_loss, parameters, rows, training_sample
from interp.measure.observe import Observation

NEEDS: dict[str, str] = {}
DIMS, UNIT, ONLINE, COST = (), "per weight", True, "backward"

SHORTEST = 1e-6
"""Of a step, so that single precision resolves it: as in the code that the authors published."""


def commutator_defect(obs: Observation, *, pairs: int = 3, batch_size: int = 32, step_size: float = 1e-3) -> float:
    """Each pair is drawn anew from the training split; the batches are halves of it where it is small."""
    width = obs.splits["train"].tokens.shape[1]
    sample = training_sample(obs, 2 * pairs * batch_size * width)
    each, point, found = min(batch_size, len(sample.tokens) // 2), parameters(obs.model), []
    if each == 0:
        return math.nan
    for _ in range(pairs):
        drawn = torch.randperm(len(sample.tokens), generator=obs.rng)[: 2 * each]
        a, b = (mean_loss(obs.model, rows(sample, half)) for half in drawn.split(each))
        found.append(defect(a, b, point, step_size))
    obs.spend(4 * pairs * each * width, backward=1)
    return median(found)


def defect(a: Loss, b: Loss, point: Point, step_size: float) -> float:
    """The commutator defect of two losses at a point; NaN where one of them is flat."""
    slope_a, slope_b = gradient(a, point)[1], gradient(b, point)[1]
    length_a, length_b = dot(slope_a, slope_a) ** 0.5, dot(slope_b, slope_b) ** 0.5
    if not (length_a > 0 and length_b > 0):
        return math.nan
    step = max(step_size, min(1.0, SHORTEST / min(length_a, length_b)))
    after_b = gradient(a, _stepped(point, slope_b, step))[1]
    after_a = gradient(b, _stepped(point, slope_a, step))[1]
    apart = {
        name: (slope_a[name].double() - after_b[name]) - (slope_b[name].double() - after_a[name]) for name in point
    }
    return dot(apart, apart) ** 0.5 / (step * length_a * length_b)


def _stepped(point: Point, slope: Point, step: float) -> Point:
    return {name: value - step * slope[name] for name, value in point.items()}
