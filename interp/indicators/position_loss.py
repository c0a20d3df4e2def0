"""Loss at each position of the test split, in nats: mean of −ln p(target) over the sequences that are scored there (Olsson et
al. 2022, arXiv 2209.11895, after Kaplan et al. 2020): how much more context helps. `in_context_score` is a difference of
means of it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from interp.indicators._log_probs import scored_positions, split_losses
from interp.measure.observe import Observation

NEEDS = {"test.logits": "answer"}
DIMS, UNIT, ONLINE = ("pos",), "nats", True


def position_loss(obs: Observation) -> Float[Tensor, "pos"]:
    """At least 0; NaN at positions where no sequence is scored."""
    scored = scored_positions(obs, "test")
    losses = torch.full(scored.shape, math.nan, dtype=torch.float64)
    losses[scored] = split_losses(obs, "test")
    return losses.nanmean(dim=0)
