"""Covariance, over training sequences, of the loss at this checkpoint with the loss at the previous one, in squared
nats.

High while the same examples stay hard, and near 0 once all are fitted; the covariance of per-sample losses has been
proposed as an early sign of transitions (arXiv 2603.29805); the lag of one checkpoint is this library's choice. NaN
without a previous checkpoint.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from interp.indicators._log_probs import scored_positions, split_losses
from interp.measure.observe import Observation

NEEDS = {"train.logits": "answer", "previous": "all"}
DIMS, UNIT, ONLINE = (), "squared nats", True


def loss_covariance(obs: Observation) -> float:
    """Of each sequence's loss, the mean over its scored positions; NaN for fewer than two sequences."""
    if obs.previous is None:
        return math.nan
    pair = torch.stack([_per_sequence(obs), _per_sequence(obs.previous)])
    return float(torch.cov(pair)[0, 1]) if pair.shape[1] > 1 else math.nan


def _per_sequence(obs: Observation) -> Float[Tensor, "sequence"]:
    scored = scored_positions(obs, "train")
    totals = torch.zeros(len(scored), dtype=torch.float64).index_add(
        0, scored.nonzero()[:, 0], split_losses(obs, "train")
    )
    counts = scored.sum(dim=1)
    return totals[counts > 0] / counts[counts > 0]
