"""Spectral edge of the update since the previous checkpoint, component by component: the largest ratio σ_j/σ_(j+1) of
neighbouring singular values of the change of its weights, among the larger half of them.

Not the published edge: arXiv 2603.15678 takes this ratio of a *window* of ten updates of all parameters, one row an
update; this is one update, taken apart matrix by matrix. The smaller half is left out, as the last singular values of a
square matrix of noise lie far apart in ratio. 1 for an update without preferred directions, large where a few directions
stand out of the noise. NaN without a previous checkpoint, where nothing changed, or where the rank is too low for a ratio.
Components as in `update_spectrum`. No pass is run.
"""

from __future__ import annotations

import math

import torch

from interp.indicators._weights import matrices
from interp.measure.observe import Observation

NEEDS = {"weights": "all", "previous": "all"}
DIMS, UNIT, ONLINE = ("component",), "ratio", True


def update_edge(obs: Observation) -> dict[str, float]:
    """At least 1."""
    now = matrices(obs)
    before = matrices(obs.previous) if obs.previous is not None else {}
    return {name: edge(weight - before[name]) if name in before else math.nan for name, weight in now.items()}


def edge(change: torch.Tensor) -> float:
    """The largest ratio of neighbours among the larger half of the singular values that are not rounding of float32."""
    values = torch.linalg.svdvals(change)
    floor = values[0] * max(change.shape) * torch.finfo(torch.float32).eps
    ratios = (values[:-1] / values[1:])[: len(values) // 2][values[1 : len(values) // 2 + 1] > floor]
    return float(ratios.max()) if len(ratios) else math.nan
