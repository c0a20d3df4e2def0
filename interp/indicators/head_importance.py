"""Importance of every head (Michel et al. 2019, arXiv 1905.10650): |∂L/∂ξ| at ξ = 1 for a gate ξ on the head's
output, mean over prompts, divided by the layer's ℓ2 norm. L is the negative log-probability of the answer's first
token."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interp.indicators._heads import gate_gradients
from interp.measure.observe import Observation

NEEDS = {"z": "all", "z.grad": "all"}
DIMS, UNIT, ONLINE = ("layer", "head"), "share", True


def head_importance(obs: Observation) -> Float[Tensor, "layer head"]:
    """Squares sum to 1 in each layer; NaN in a layer without any gradient."""
    importance = gate_gradients(obs).abs().mean(dim=1)
    return importance / importance.norm(dim=1, keepdim=True)
