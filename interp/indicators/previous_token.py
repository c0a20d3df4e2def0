"""Previous-token score of every head: attention from a token to the one before it, mean over the prompts' positions
from the second on.

The first half of an induction circuit (Olsson et al. 2022, arXiv 2209.11895). NaN for prompts of one token.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.measure.observe import Observation

NEEDS = {"pattern": "all"}
DIMS, UNIT, ONLINE = ("layer", "head"), "attention", True


def previous_token(obs: Observation) -> Float[Tensor, "layer head"]:
    """In [0, 1]; pairs with a masked position are left out."""
    attention = obs["pattern"].double().diagonal(offset=-1, dim1=-2, dim2=-1)
    real = obs.mask[:, 1:] & obs.mask[:, :-1]
    return torch.where(real[:, None], attention, 0).sum(dim=(1, 3)) / real.sum()
