"""Share of the update since the previous checkpoint that lies along one direction, component by component: σ₁²/Σσ²
of the singular values of the change of its weights. NaN without a previous checkpoint or where nothing changed.

A simple reading of the spectrum of updates, whose edge has been proposed as an early sign: arXiv 2603.15678 follows
the gaps between the singular values of a *window* of updates. That needs the weights of as many checkpoints at once,
or their inner products, and an observation holds one earlier checkpoint: this is one update, taken apart matrix by
matrix. Components: "embed", "logits", "L2" (q, k, v, o of all heads, stacked), "L2.mlp".
"""

from __future__ import annotations

import math

import torch

from interp.indicators._weights import matrices
from interp.measure.observe import Observation

NEEDS = {"weights": "all", "previous": "all"}
DIMS, UNIT, ONLINE = ("component",), "share", True


def update_spectrum(obs: Observation) -> dict[str, float]:
    """From 1/rank (isotropic) to 1 (one direction)."""
    now = matrices(obs)
    before = matrices(obs.previous) if obs.previous is not None else {}
    return {name: _top_share(weight - before[name]) if name in before else math.nan for name, weight in now.items()}


def _top_share(change: torch.Tensor) -> float:
    energy = torch.linalg.svdvals(change).square()
    return float(energy[0] / energy.sum()) if energy[0] > 0 else math.nan
