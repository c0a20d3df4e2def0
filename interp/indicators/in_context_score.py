"""In-context learning score on the test split, in nats (Olsson et al. 2022, arXiv 2209.11895): loss late in the
sequence minus loss early; negative where context helps.

Early and late are the first and last `share` of the scored positions of each sequence (the paper, on 512 tokens:
positions 50, 500).
"""

from __future__ import annotations

import math

import torch

from interp.indicators._log_probs import scored_positions, split_losses
from interp.measure.observe import Observation

NEEDS = {"test.logits": "answer"}
DIMS, UNIT, ONLINE, KIND = (), "nats", True, "behaviour"


def in_context_score(obs: Observation, *, share: float = 0.1) -> float:
    """NaN where every sequence has fewer than two scored positions."""
    scored = scored_positions(obs, "test")
    losses = torch.full(scored.shape, math.nan, dtype=torch.float64)
    losses[scored] = split_losses(obs, "test")
    order = scored.cumsum(dim=1)
    count = order[:, -1:]
    size = (share * count).ceil().clamp(min=1)
    several = scored & (count > 1)
    early, late = losses[several & (order <= size)], losses[several & (order > count - size)]
    return float(late.mean() - early.mean())
