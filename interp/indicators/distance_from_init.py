"""Distance of the weights from where the run began: ‖w_t − w_0‖₂ over all parameters. NaN where step 0 is not
stored."""

from __future__ import annotations

from interp.indicators._weights import distance
from interp.measure.observe import Observation

NEEDS = {"weights": "all", "initial": "all"}
DIMS, UNIT, ONLINE = (), "weight", True


def distance_from_init(obs: Observation) -> float:
    """Euclidean, summed in float64; 0 at step 0."""
    return distance(obs, obs.initial)
