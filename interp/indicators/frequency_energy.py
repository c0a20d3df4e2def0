"""Which share of the neurons' variance over all p² inputs each frequency explains, in a model that adds modulo p (Nanda et al.
2023, arXiv 2301.05217): component "k=3" for frequency 3, the mean over the last layer's neurons that are not constant.

Shares add up to at most 1; what is missing is in products of different frequencies. NaN for other tasks or without MLPs.
"""

from __future__ import annotations

import math

from interp.indicators._fourier import frequency_shares, modulus, on_grid
from interp.measure.observe import Observation

NEEDS = {"train.mlp_post": "answer", "test.mlp_post": "answer"}
DIMS, UNIT, ONLINE = ("component",), "share of variance", True


def frequency_energy(obs: Observation) -> dict[str, float]:
    """NaN where every neuron is constant."""
    p = modulus(obs)
    if p is None or not obs.has_mlp:
        return {"": math.nan}
    shares = frequency_shares(on_grid(obs, "mlp_post", p), p).mean(dim=1)
    return {f"k={k}": float(share) for k, share in enumerate(shares, start=1)}
