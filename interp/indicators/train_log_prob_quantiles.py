"""Quantiles, in nats, of the log-probability of the right token over the scored positions of the training split.

What arXiv 2605.08237 follows through training, there at 19 levels (`levels: 19`: .05 to .95) of 100 training examples:
the state whose dynamics `interp.table.rolling` asks for a linear model (`train_log_prob_quantiles.dmd_residual`), kept by
itself so that this can be done from the table. Component "q50" is the median. NaN where nothing is scored. Costs a pass
over the training split.
"""

from __future__ import annotations

import math

import torch

from interp.errors import InputError
from interp.indicators._log_probs import split_losses
from interp.measure.observe import Observation

NEEDS = {"train.logits": "answer"}
DIMS, UNIT, ONLINE = ("component",), "nats", True


def train_log_prob_quantiles(obs: Observation, *, levels: int = 5) -> dict[str, float]:
    """At `levels` equally spaced levels k/(levels + 1), interpolated linearly."""
    if not 1 <= levels <= 99:
        raise InputError(f"levels is {levels}; expected 1 to 99 quantiles")
    at = torch.arange(1, levels + 1, dtype=torch.float64) / (levels + 1)
    log_probs = -split_losses(obs, "train").double()
    found = torch.quantile(log_probs, at).tolist() if len(log_probs) else [math.nan] * levels
    return {f"q{100 * float(level):.0f}": value for level, value in zip(at, found, strict=True)}
