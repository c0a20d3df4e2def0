"""Effective rank of the weights, component by component: exp of the entropy of the normalised singular values (Roy &
Vetterli 2007).

Components: "embed", "logits", "L2" (q, k, v, o of all heads, stacked), "L2.mlp" (both matrices, stacked).
"""

from __future__ import annotations

import torch

from interp.indicators._spectra import entropy_rank
from interp.indicators._weights import matrices
from interp.measure.observe import Observation

NEEDS = {"weights": "all"}
DIMS, UNIT, ONLINE = ("component",), "dimensions", True


def effective_rank(obs: Observation) -> dict[str, float]:
    """From 1 to the smaller side of the matrix; NaN for zeros."""
    return {name: entropy_rank(torch.linalg.svdvals(weight)) for name, weight in matrices(obs).items()}
