"""Stochastic gradient Langevin dynamics around a point (Welling & Teh 2011; Lau et al. 2023, arXiv 2308.12108)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch

from interp.indicators._loss import (
    Loss,
    Point,
    default_beta,
    gradient,
    mean_loss,
    parameters,
    random_like,
    rows,
    training_sample,
)

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Generator, Tensor

    from interp.measure.observe import Observation


class Chain(NamedTuple):
    """What a user may choose of a chain; `llc` says what each means."""

    draws: int
    burn_in: int
    step_size: float
    n_beta: float | None
    localization: float
    tokens: int


def sample_losses(
    draw_loss: Callable[[], Loss],
    start: Point,
    rng: Generator,
    *,
    draws: int,
    burn_in: int,
    step_size: float,
    n_beta: float,
    localization: float,
    where: Point | None = None,
) -> Float[Tensor, "draw"]:
    """Losses along a chain: Δw = −(ε/2)(nβ ∇L(w) + γ (w − w*)) + N(0, ε), with ε the step size, γ the localization,
    w* the start.

    draw_loss: gives the loss (of the next mini-batch) as a function of the parameters.
    where: 1 for the parameters that may move, 0 for the others; None: all may.
    Returns the loss *before* each move, after `burn_in` moves; NaN from where the chain has left the finite numbers.
    """
    point = {name: value.clone() for name, value in start.items()}
    losses = torch.full((draws,), math.nan, dtype=torch.float64)
    for move in range(burn_in + draws):
        value, slope = gradient(draw_loss(), point)
        if not math.isfinite(float(value)):
            break
        if move >= burn_in:
            losses[move - burn_in] = float(value)
        noise = random_like(point, rng)
        for name, weight in point.items():
            force = n_beta * slope[name] + localization * (weight - start[name])
            change = noise[name] * math.sqrt(step_size) - force * (step_size / 2)
            weight += change if where is None else change * where[name]
    return losses


def learning_coefficient(obs: Observation, chain: Chain, *, where: Point | None = None) -> float:
    """λ̂ = nβ (mean loss along the chain − loss at its start), both over one sample of the training split; NaN if
    the chain diverges.

    Each move takes at most `tokens` tokens of whole sequences out of a sample that is at most four times as large.
    Without `n_beta`, it is B/ln B for the B sequences of a move.
    """
    sample, start = training_sample(obs, 4 * chain.tokens), parameters(obs.model)
    n, width = sample.tokens.shape
    batch_size = min(n, max(1, chain.tokens // width))
    n_beta = default_beta(batch_size) if chain.n_beta is None else chain.n_beta

    def draw_loss() -> Loss:
        if n == batch_size:
            return mean_loss(obs.model, sample)
        return mean_loss(obs.model, rows(sample, torch.randperm(n, generator=obs.rng)[:batch_size]))

    losses = sample_losses(
        draw_loss,
        start,
        obs.rng,
        draws=chain.draws,
        burn_in=chain.burn_in,
        step_size=chain.step_size,
        n_beta=n_beta,
        localization=chain.localization,
        where=where,
    )
    obs.spend(n * width)
    obs.spend(batch_size * width * (chain.draws + chain.burn_in), backward=1)
    return n_beta * (float(losses.mean()) - float(mean_loss(obs.model, sample)(start)))
