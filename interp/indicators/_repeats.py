"""Random tokens repeated several times: the input on which head roles show without any task."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from interp.hooks.activations import capture

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from interp.measure.observe import Observation


def repeated_attention(
    obs: Observation, *, offset: int, length: int, repeats: int, sequences: int
) -> Float[Tensor, "layer head"]:
    """Attention from a token to the positions `offset` after its occurrences in earlier repeats, summed over these,
    mean over the tokens of all repeats but the first and over `sequences` draws of `length` tokens.

    Cut down to what the task's context holds; NaN where that is less than two repeats of two tokens.
    """
    repeats = min(repeats, obs.task.n_ctx // 2)
    length = min(length, obs.task.n_ctx // max(repeats, 1))
    if repeats < 2:
        return torch.full((obs.model.n_layers, obs.model.n_heads), math.nan)
    block = torch.randint(min(obs.model.d_vocab, len(obs.task.vocab)), (sequences, length), generator=obs.rng)
    tokens = block.repeat(1, repeats)
    pattern = capture(obs.model, tokens, sites=("pattern",))["pattern"].cpu().double()
    obs.spend(tokens.numel())
    score = torch.zeros(pattern.shape[:3], dtype=torch.float64)
    for back in range(1, repeats):
        along = pattern.diagonal(offset=offset - back * length, dim1=-2, dim2=-1)
        score += along[..., offset:].sum(dim=-1)  # the first ones are queries of the repeat before
    return score.mean(dim=1) / (length * (repeats - 1))
