"""Trace of the Hessian of the training loss, by Hutchinson's estimator: mean of vᵀ H v over vectors v of random
signs (Yao et al. 2020, arXiv 1912.07145). Computed on a sample of the training split; grows with the sharpness of
the minimum."""

from __future__ import annotations

import torch

from interp.indicators._loss import dot, hessian_product, mean_loss, parameters, random_like, training_sample
from interp.measure.observe import Observation
from interp.measure.scoring import mean
from interp.types import Estimate

NEEDS: dict[str, str] = {}
DIMS, UNIT, ONLINE, COST = (), "nats per squared weight", True, "many"


def hessian_trace(obs: Observation, *, probes: int = 16, tokens: int = 4096) -> Estimate:
    """The standard error is that over probes, n their number."""
    sample, point = training_sample(obs, tokens), parameters(obs.model)
    with hessian_product(mean_loss(obs.model, sample), point) as product:
        values = []
        for _ in range(probes):
            v = random_like(point, obs.rng, signs=True)
            values.append(dot(v, product(v)))
    obs.spend(sample.tokens.numel(), backward=1)
    obs.spend(sample.tokens.numel(), forward=0, backward=2 * probes)
    return mean(torch.tensor(values))
