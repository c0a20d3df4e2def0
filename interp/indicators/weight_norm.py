"""Sum of the squared weights, all parameters, tied ones once (Nanda et al. 2023, arXiv 2301.05217; Liu et al. 2023,
arXiv 2210.01117)."""

from __future__ import annotations

from interp.indicators._weights import distinct
from interp.measure.observe import Observation

NEEDS = {"weights": "all"}
DIMS, UNIT, ONLINE = (), "squared weight", True


def weight_norm(obs: Observation) -> float:
    """Σ w², summed in float64."""
    return sum(float(weight.double().square().sum()) for weight in distinct(obs["weights"]))
