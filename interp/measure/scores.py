"""From logits to scores: log-probabilities, and means with their standard errors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from interp.types import Estimate

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


def log_softmax(logits: Float[Tensor, "... vocab"]) -> Float[Tensor, "... vocab"]:
    """Log-probabilities in nats, in float64: in float32 the loss of a well-fitted model underflows."""
    return logits.double().log_softmax(dim=-1)


def pick(values: Float[Tensor, "... vocab"], tokens: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The value at each token; NaN where there is no token (-1)."""
    picked = values.gather(-1, tokens.clamp(min=0)[..., None])[..., 0]
    return picked.masked_fill(tokens < 0, math.nan)


def rank(logits: Float[Tensor, "prompt vocab"], tokens: Int[Tensor, "prompt"]) -> Float[Tensor, "prompt"]:
    """1 + how many tokens have a larger logit, those with the same logit counted half."""
    own = logits.gather(1, tokens[:, None])
    return 0.5 + (logits > own).double().sum(dim=1) + (logits == own).double().sum(dim=1) / 2


def mean(values: Float[Tensor, "example"]) -> Estimate:
    """Mean over independent examples, NaN ones left out. Of zeros and ones, the standard error is binomial."""
    values = values[~values.isnan()].double()
    n = len(values)
    if n == 0:
        return Estimate(math.nan, math.nan, 0)
    return Estimate(float(values.mean()), float(values.var(correction=0) / n) ** 0.5, n)


def sequence_mean(values: Float[Tensor, "scored"], scored: Bool[Tensor, "prompt pos"]) -> Estimate:
    """Mean over scored positions; its standard error takes the positions of a sequence together (clustered), for
    they depend on each other: sqrt(Σ_sequences (Σ_positions (x − mean))²)/N. `scored` says which positions the
    values belong to."""
    n = len(values)
    if n == 0:
        return Estimate(math.nan, math.nan, 0)
    values = values.double()
    sequence = scored.nonzero()[:, 0]
    residual = torch.zeros(len(scored), dtype=torch.float64).index_add(0, sequence, values - values.mean())
    return Estimate(float(values.mean()), float(residual.square().sum().sqrt() / n), n)
