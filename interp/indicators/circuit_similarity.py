"""Similarity of the circuit to that of the previous checkpoint: weighted Jaccard index of the scores' magnitudes, Σ
min(|a|, |b|) / Σ max(|a|, |b|), over edges, or over nodes where the method scores nodes (Tigges et al. 2024, arXiv
2407.10827). NaN without circuits at both checkpoints."""

from __future__ import annotations

import math

from interp.circuits.formation.track import magnitudes
from interp.measure.observe import Observation
from interp.table.forming import similarity

NEEDS = {"circuit": "all", "previous": "all"}
DIMS, UNIT, ONLINE = (), "share", True


def circuit_similarity(obs: Observation) -> float:
    """1 for equal scores, 0 for disjoint ones; NaN where all are zero."""
    if obs.circuit is None or obs.previous is None or obs.previous.circuit is None:
        return math.nan
    return similarity(magnitudes(obs.circuit), magnitudes(obs.previous.circuit))
