"""Simple gradient noise scale, in sequences (McCandlish et al. 2018, arXiv 1812.06162): tr Σ / |G|², the batch size
at which noise and signal of the gradient are alike.

From the gradients of small batches of b sequences and of their union of B: |G|² = (B |g_B|² − b |g_b|²)/(B − b), tr
Σ = (|g_b|² − |g_B|²)/(1/b − 1/B), both unbiased, |g_b|² averaged over the small batches. NaN where the estimate of
|G|² is not positive, or there are fewer than four sequences.
"""

from __future__ import annotations

import math

import torch

from interp.indicators._loss import dot, gradient, mean_loss, parameters, rows, training_sample
from interp.measure.observe import Observation

NEEDS: dict[str, str] = {}
DIMS, UNIT, ONLINE, COST = (), "sequences", True, "backward"


def gradient_noise_scale(obs: Observation, *, batch_size: int = 32, batches: int = 16) -> float:
    """Sequences are drawn from the training split without replacement; smaller batches where it is small."""
    sample = training_sample(obs, batch_size * batches * obs.splits["train"].tokens.shape[1])
    batch_size = min(batch_size, len(sample.tokens) // 4)
    if batch_size == 0:
        return math.nan
    batches = len(sample.tokens) // batch_size
    order = torch.randperm(len(sample.tokens), generator=obs.rng)[: batches * batch_size]
    point, slopes = parameters(obs.model), []
    for index in order.split(batch_size):
        slopes.append(gradient(mean_loss(obs.model, rows(sample, index)), point)[1])
    obs.spend(order.numel() * sample.tokens.shape[1], backward=1)
    whole = {name: torch.stack([slope[name] for slope in slopes]).mean(dim=0) for name in point}
    small, large = sum(dot(slope, slope) for slope in slopes) / batches, dot(whole, whole)
    b, big = batch_size, batch_size * batches
    signal = (big * large - b * small) / (big - b)
    noise = (small - large) / (1 / b - 1 / big)
    return noise / signal if signal > 0 else math.nan
