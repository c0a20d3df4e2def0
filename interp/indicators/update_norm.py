"""Length of the update since the previous checkpoint: ‖w_t − w_(t−1)‖₂ over all parameters. NaN without a previous
checkpoint.

Depends on the distance between the checkpoints; within a run, on its schedule.
"""

from __future__ import annotations

from interp.indicators._weights import distance
from interp.measure.observe import Observation

NEEDS = {"weights": "all", "previous": "all"}
DIMS, UNIT, ONLINE = (), "weight", True


def update_norm(obs: Observation) -> float:
    """Euclidean, summed in float64."""
    return distance(obs, obs.previous)
