"""Fourier analysis over Z_p of models that add modulo p (Nanda et al. 2023, arXiv 2301.05217)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from interp.measure.observe import Observation


def modulus(obs: Observation) -> int | None:
    """p, where the task adds or subtracts modulo p with the numbers as tokens 0 … p−1; else None."""
    return obs.task.structure.modulus if obs.task.name in ("modular_addition", "modular_subtraction") else None


def basis(p: int) -> Float[Tensor, "wave number"]:
    """Orthonormal waves over Z_p without the constant: cos 1, sin 1, cos 2, sin 2, …; p − 1 of them."""
    k = torch.arange(1, p // 2 + 1, dtype=torch.float64)[:, None]
    angle = 2 * math.pi * k * torch.arange(p, dtype=torch.float64) / p
    waves = torch.stack([angle.cos(), angle.sin()], dim=1).flatten(0, 1)
    waves = waves[: p - 1]  # the sine of the highest frequency of an even p is zero everywhere
    return waves / waves.norm(dim=1, keepdim=True)


def wave_norms(matrix: Float[Tensor, "number feature"]) -> Float[Tensor, "wave"]:
    """How much of each wave is in a matrix with one row a number."""
    return (basis(len(matrix)) @ matrix.double()).norm(dim=1)


def sum_directions(p: int, frequency: int, sign: int) -> Float[Tensor, "direction input"]:
    """cos and sin of 2πk(a ± b)/p over the p² inputs a·p + b, normalised; one row where the sine is zero everywhere."""
    total = torch.arange(p, dtype=torch.float64)[:, None] + sign * torch.arange(p, dtype=torch.float64)
    angle = 2 * math.pi * frequency * total.flatten() / p
    rows = [angle.cos()] if 2 * frequency == p else [angle.cos(), angle.sin()]
    stacked = torch.stack(rows)
    return stacked / stacked.norm(dim=1, keepdim=True)


def wave_part(
    obs: Observation, logits: Float[Tensor, "input vocab"], frequencies: list[int]
) -> Float[Tensor, "input vocab"]:
    """The part of the logits that lies in the waves of the sum (or difference) at some frequencies."""
    p, sign = math.isqrt(len(logits)), -1 if obs.task.name == "modular_subtraction" else 1
    span = torch.cat([sum_directions(p, k, sign) for k in frequencies])
    return span.T @ (span @ logits)


def on_grid(obs: Observation, need: str, p: int) -> Float[Tensor, "input feature"]:
    """What was kept of both splits under `need` (say "logits"), in the order of the inputs a·p + b."""
    parts = [obs[f"{split}.{need}"] for split in ("train", "test")]
    values = torch.cat([part[-1] if part.ndim == 3 else part for part in parts]).double()
    grid = torch.full((p * p, values.shape[-1]), math.nan, dtype=torch.float64)
    grid[torch.cat([_inputs(obs, split, p) for split in ("train", "test")])] = values
    return grid


def answers_on_grid(obs: Observation, p: int) -> Int[Tensor, "input"]:
    """The answer that is trained or tested for each input a·p + b."""
    answers = torch.full((p * p,), -1)
    for split in ("train", "test"):
        answers[_inputs(obs, split, p)] = obs.targets(split)
    return answers


def train_inputs(obs: Observation, p: int) -> Int[Tensor, "train"]:
    """The inputs a·p + b of the training split."""
    return _inputs(obs, "train", p)


def frequency_shares(neurons: Float[Tensor, "input neuron"], p: int) -> Float[Tensor, "frequency neuron"]:
    """Which share of each neuron's variance over the p² inputs each frequency 1 … p//2 explains; constant neurons are left out.

    A frequency explains what the waves of a alone, of b alone, and their four products span.
    """
    centred = neurons - neurons.mean(dim=0)
    variance = centred.square().sum(dim=0)
    alive = variance > 1e-12 * neurons.square().sum(dim=0).clamp(min=1e-30)
    waves = basis(p)
    cube = centred[:, alive].view(p, p, -1)
    constant = torch.full((1, p), p**-0.5, dtype=torch.float64)
    energy = []
    for start in range(0, p - 1, 2):
        span = torch.cat([constant, waves[start : start + 2]])
        part = torch.einsum("i a, j b, a b n -> i j n", span, span, cube).square()
        energy.append(part.sum(dim=(0, 1)) - part[0, 0])
    return torch.stack(energy) / variance[alive]


def neuron_counts(neurons: Float[Tensor, "input neuron"], p: int) -> dict[int, int]:
    """Key frequency -> how many neurons name it: the frequency that explains most of a neuron's variance."""
    named = frequency_shares(neurons, p).argmax(dim=0) + 1
    found, counts = named.unique(return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def neuron_frequencies(neurons: Float[Tensor, "input neuron"], p: int) -> list[int]:
    """The key frequencies, each named once."""
    return sorted(neuron_counts(neurons, p))


def final_frequencies(obs: Observation, p: int) -> list[int]:
    """The key frequencies of the last checkpoint, from the neurons of its last layer; [] where it has none or there
    is none."""
    return neuron_frequencies(on_grid(obs.final, "mlp_post", p), p) if obs.final is not None else []


FINAL_WAVES = {
    "train.logits": "answer",
    "test.logits": "answer",
    "train.mlp_post": "answer",
    "test.mlp_post": "answer",
    "final": "all",
}
"""What `final_waves` needs to see."""


def final_waves(
    obs: Observation,
) -> tuple[Float[Tensor, "input vocab"], Float[Tensor, "input vocab"], Int[Tensor, "input"]] | None:
    """The logits of all p² inputs, their part in the waves of the final checkpoint's key frequencies, and the answers;
    None for other tasks, without MLPs, or without a final checkpoint."""
    p = modulus(obs)
    frequencies = [] if p is None else final_frequencies(obs, p)
    if p is None or not frequencies:
        return None
    logits = on_grid(obs, "logits", p)
    return logits, wave_part(obs, logits, frequencies), answers_on_grid(obs, p)


def _inputs(obs: Observation, split: str, p: int) -> Int[Tensor, "scored"]:
    tokens = obs.splits[split].tokens
    return tokens[:, 0] * p + tokens[:, 1]
