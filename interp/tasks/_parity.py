"""Parities of secret subsets of bits: what the single and the multitask skill share."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from interp.seeds import generator
from interp.tasks._splits import fill, held_out, share_held_out

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Generator, Tensor

ENUMERABLE = 20_000
"""A task with at most so many inputs lists them all."""


def secret_subsets(n_subsets: int, *, n_bits: int, subset_size: int, secret: int) -> Int[Tensor, "subset subset_size"]:
    """Different subsets of the bits, each sorted; `secret` is the seed of the choice."""
    rng = generator(secret, "secret subsets")
    found: dict[tuple[int, ...], None] = {}
    while len(found) < n_subsets:
        drawn = torch.randperm(n_bits, generator=rng)[:subset_size].sort().values
        found[tuple(drawn.tolist())] = None
    return torch.tensor(list(found))


def every_input(n_bits: int) -> Int[Tensor, "input bit"]:
    """All 2^n_bits inputs."""
    return torch.arange(2**n_bits)[:, None] >> torch.arange(n_bits) & 1


@lru_cache(maxsize=64)
def listed_test(n_bits: int, *, seed: int, fraction: float) -> Bool[Tensor, "input"]:
    """Which of all inputs are for testing: an exact share."""
    return share_held_out(every_input(n_bits), seed=seed, fraction=fraction)


def draw_bits(
    n: int, *, n_bits: int, rng: Generator, seed: int, split: str, fraction: float, what: str
) -> Int[Tensor, "prompt bit"]:
    """Uniform inputs from one side of the split: from the list of all where they can be listed, else by a hash."""
    if 2**n_bits <= ENUMERABLE:
        rows = (listed_test(n_bits, seed=seed, fraction=fraction) == (split == "test")).nonzero()[:, 0]
        return every_input(n_bits)[rows[torch.randint(len(rows), (n,), generator=rng)]]

    def fit(m: int) -> tuple[Tensor, ...]:
        bits = torch.randint(2, (m, n_bits), generator=rng)
        return (bits[held_out(bits, seed=seed, fraction=fraction) == (split == "test")],)

    return fill(n, fit, what=what)[0]


def parity(bits: Int[Tensor, "prompt bit"], subset: Int[Tensor, "prompt subset_size"]) -> Int[Tensor, "prompt"]:
    """The sum, modulo 2, of the bits that each row's subset names."""
    return bits.gather(1, subset).sum(1) % 2


def flip_one(
    bits: Int[Tensor, "prompt bit"], subset: Int[Tensor, "prompt subset_size"], rng: Generator
) -> Int[Tensor, "prompt bit"]:
    """The bits with a random one of the subset flipped: the other parity."""
    choice = torch.randint(subset.shape[1], (len(bits), 1), generator=rng)
    place = subset.gather(1, choice)
    return bits.scatter(1, place, 1 - bits.gather(1, place))
