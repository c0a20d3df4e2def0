"""Prefix-matching score of every head: attention from a token to the tokens after its earlier occurrences, summed
over them, mean over the tokens that have some, on 25 random tokens repeated 4 times (Olsson et al. 2022, arXiv
2209.11895): the mark of an induction head.

Shorter sequences where the context is shorter; no token is put before the sequence.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interp.indicators._repeats import repeated_attention
from interp.measure.observe import Observation

NEEDS: dict[str, str] = {}
DIMS, UNIT, ONLINE, COST = ("layer", "head"), "attention", True, "forward"


def prefix_matching(
    obs: Observation, *, length: int = 25, repeats: int = 4, sequences: int = 16
) -> Float[Tensor, "layer head"]:
    """In [0, 1]; NaN where the context is too short for two repeats of two tokens."""
    return repeated_attention(obs, offset=1, length=length, repeats=repeats, sequences=sequences)
