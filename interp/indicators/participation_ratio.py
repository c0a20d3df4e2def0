"""Participation ratio of the residual stream at the answer position, in dimensions: (Σλ)²/Σλ² over the eigenvalues
of the covariance over prompts (Gao et al. 2017). NaN where all activations are equal."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from interp.indicators._spectra import participation
from interp.measure.observe import Observation

NEEDS = {"resid_post": "answer"}
DIMS, UNIT, ONLINE = ("layer",), "dimensions", True


def participation_ratio(obs: Observation) -> Float[Tensor, "layer"]:
    """1 for activations on a line, d for a sphere in d dimensions."""
    layers = obs["resid_post"].double()
    return torch.tensor([math.nan if (x == x[0]).all() else _one_layer(x) for x in layers])


def _one_layer(x: Float[Tensor, "prompt d_model"]) -> float:
    return participation(torch.linalg.svdvals(x - x.mean(dim=0)).square())
