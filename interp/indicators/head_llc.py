"""Weight-refined local learning coefficient of every head (Wang et al. 2024, arXiv 2410.02984): the coefficient with
only the head's own weights (its rows of q, k, v and o) free to move and all others held at their values.

`llc` has the formula. With grouped keys and values, a head's k and v are those of its group.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.indicators._loss import parameters
from interp.indicators._sgld import Chain, learning_coefficient
from interp.indicators._weights import head_masks
from interp.measure.observe import Observation

NEEDS: dict[str, str] = {}
DIMS, UNIT, ONLINE, COST = ("layer", "head"), "parameters", True, "many"


def head_llc(
    obs: Observation,
    *,
    draws: int = 50,
    burn_in: int = 50,
    step_size: float = 3e-4,
    n_beta: float | None = None,
    localization: float = 100.0,
    tokens: int = 1024,
) -> Float[Tensor, "layer head"]:
    """One chain a head, each (draws + burn_in) passes forward and back."""
    chain = Chain(draws, burn_in, step_size, n_beta, localization, tokens)
    values = torch.empty(obs.model.n_layers, obs.model.n_heads)
    for layer, head in torch.cartesian_prod(*map(torch.arange, values.shape)).tolist():
        own = head_masks(obs, parameters(obs.model), layer, head)
        values[layer, head] = learning_coefficient(obs, chain, where=own)
    return values
