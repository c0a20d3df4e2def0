"""Effective rank of the residual stream at the answer position, in dimensions: exp of the entropy of the normalised
singular values (RankMe, Garrido et al. 2023, arXiv 2210.02885). NaN where all activations are equal."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from interp.indicators._spectra import entropy_rank
from interp.measure.observe import Observation

NEEDS = {"resid_post": "answer"}
DIMS, UNIT, ONLINE = ("layer",), "dimensions", True


def rankme(obs: Observation) -> Float[Tensor, "layer"]:
    """At most the number of prompts and of dimensions; the activations are not centred, as in the paper."""
    layers = obs["resid_post"].double()
    return torch.tensor([math.nan if (x == x[0]).all() else entropy_rank(torch.linalg.svdvals(x)) for x in layers])
