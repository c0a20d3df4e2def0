"""Random scores: the baseline that a method must beat, and the null for circuits of equal size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from interp.circuits._attribution import pair_of
from interp.circuits._circuit import Circuit
from interp.circuits._scored import scored

if TYPE_CHECKING:
    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


def random(model: Model, prompts: Prompts, *, metric: Metric = "logit_diff", seed: int = 0) -> Circuit:
    """Every edge gets an independent standard normal score."""
    pair = pair_of(model, prompts, metric)
    scores = torch.randn(pair.graph.edges.shape, generator=torch.Generator().manual_seed(seed))
    return scored(pair, scores.masked_fill(~pair.graph.edges, torch.nan), "random", passes=0, seed=seed)
