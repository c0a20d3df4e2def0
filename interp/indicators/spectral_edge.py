"""Spectral edge of the run's last updates: the largest ratio σ_k/σ_(k+1) of neighbouring singular values of the matrix whose
rows are the `updates` (10) last changes of all parameters, from one stored checkpoint to the next (Xu 2026, arXiv
2603.15678, who calls what lies before the edge coherent directions, what lies behind it noise).

1 where all the updates are equally long and orthogonal, large where a few directions hold them. Published for equally
spaced checkpoints: on a logarithmic grid the longest intervals dominate. Singular values below a millionth of the first are
rounding and have no ratio. NaN before there are `updates` updates, or where nothing changed. No pass is run.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.indicators._weights import distinct
from interp.measure.observe import Observation

NEEDS = {"weights": "all", "window": "all"}
DIMS, UNIT, ONLINE = (), "ratio", True


def spectral_edge(obs: Observation, *, updates: int = 10) -> float:
    """At least 1; of 2 to 10 updates."""
    if not 2 <= updates <= 10:
        raise InputError(f"updates is {updates}; expected 2 to 10, as many as are kept")
    seen = [*obs.window, obs][-updates - 1 :]
    if len(seen) <= updates:
        return math.nan
    points = (torch.cat([w.flatten().double() for w in distinct(one["weights"])]) for one in seen)
    return edge(torch.stack([after - before for before, after in pairwise(points)]))


def edge(rows: Float[Tensor, "update weight"]) -> float:
    """The largest ratio of neighbouring singular values, from the inner products of the rows."""
    values = torch.linalg.eigvalsh(rows @ rows.T).flip(0).clamp(min=0).sqrt()
    ratios = (values[:-1] / values[1:])[values[1:] > 1e-6 * values[0]]
    return float(ratios.max()) if len(ratios) else math.nan
