"""Heaviness of the tail of the weights' spectrum, component by component: the exponent α of a power law p(λ) ∝
λ^(−α) fitted to the largest eigenvalues of WᵀW (heavy-tailed self-regularisation, Martin & Mahoney 2021, arXiv
1810.01075), by Hill's estimator α = 1 + n / Σ ln(λᵢ/λ_min) over the upper half of the eigenvalues. Small α: heavy
tail, strongly correlated weights.

Components: "embed", "logits", "L2" (q, k, v, o of all heads, stacked), "L2.mlp" (both matrices, stacked).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from interp.indicators._weights import matrices
from interp.measure.observe import Observation

NEEDS = {"weights": "all"}
DIMS, UNIT, ONLINE = ("component",), "exponent", True


def weight_spectrum(obs: Observation) -> dict[str, float]:
    """NaN where fewer than four eigenvalues are positive, or all are equal."""
    return {name: tail_exponent(torch.linalg.svdvals(weight).square()) for name, weight in matrices(obs).items()}


def tail_exponent(eigenvalues: Float[Tensor, "value"]) -> float:
    """Hill's estimator over the upper half of the positive eigenvalues, the smallest of these being λ_min."""
    upper = eigenvalues[eigenvalues > 0].sort(descending=True).values
    if len(upper) < 4:
        return math.nan
    upper = upper[: len(upper) // 2 + 1]
    logs = float((upper[:-1] / upper[-1]).log().sum())
    return 1 + (len(upper) - 1) / logs if logs > 0 else math.nan
