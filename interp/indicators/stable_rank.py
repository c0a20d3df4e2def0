"""Stable rank of the weights, component by component: ‖W‖²_F / σ₁² (Rudelson & Vershynin 2007). NaN for zeros.

Components: "embed", "logits", "L2" (q, k, v, o of all heads, stacked), "L2.mlp" (both matrices, stacked).
"""

from __future__ import annotations

import math

import torch

from interp.indicators._weights import matrices
from interp.measure.observe import Observation

NEEDS = {"weights": "all"}
DIMS, UNIT, ONLINE = ("component",), "dimensions", True


def stable_rank(obs: Observation) -> dict[str, float]:
    """From 1 (one direction) to the rank (all alike)."""
    return {name: _stable_rank(torch.linalg.svdvals(weight)) for name, weight in matrices(obs).items()}


def _stable_rank(spectrum: torch.Tensor) -> float:
    return float(spectrum.square().sum() / spectrum[0].square()) if spectrum[0] > 0 else math.nan
