"""Duplicate-token score of every head: attention from a token to its own earlier occurrences, summed over them, mean
over the tokens that have some (Wang et al. 2022, arXiv 2211.00593), on random tokens repeated several times."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interp.indicators._repeats import repeated_attention
from interp.measure.observe import Observation

NEEDS: dict[str, str] = {}
DIMS, UNIT, ONLINE, COST = ("layer", "head"), "attention", True, "forward"


def duplicate_token(
    obs: Observation, *, length: int = 25, repeats: int = 4, sequences: int = 16
) -> Float[Tensor, "layer head"]:
    """In [0, 1]; NaN where the context is too short for two repeats of two tokens."""
    return repeated_attention(obs, offset=0, length=length, repeats=repeats, sequences=sequences)
