"""Sparse parity: n bits and "=", the answer is the parity of a few of them, always the same secret ones.

Barak et al. 2022 (arXiv 2207.08799): hidden progress, then a jump.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks import _check
from interp.tasks._parity import ENUMERABLE, draw_bits, every_input, flip_one, listed_test, parity, secret_subsets
from interp.tasks._positions import fixed
from interp.tasks._splits import drawn, enumerated, sequences
from interp.types import Batch, Prompts, Structure, Task

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Generator, Tensor

TRIED: tuple[dict[str, Any], ...] = ({"n_bits": 6, "subset_size": 2}, {"n_bits": 16, "secret": 3})
"""Parameters that the tests try."""


def sparse_parity(*, n_bits: int = 20, subset_size: int = 3, secret: int = 0, test_fraction: float = 0.1) -> Task:
    """Uniform bits; tokens 0 and 1 are the bits and 2 is "=".

    secret: the seed of the choice of the subset, which is `structure.subsets[0]`. test_fraction: share of the inputs kept
    for testing. The corrupt prompt flips one bit of the subset. Chance is 1/2.
    """
    name = "sparse_parity"
    _check.whole(name, "n_bits", n_bits, low=2)
    _check.whole(name, "subset_size", subset_size, low=1, high=n_bits)
    _check.whole(name, "secret", secret, low=0)
    _check.fraction(name, "test_fraction", test_fraction)
    subset = secret_subsets(1, n_bits=n_bits, subset_size=subset_size, secret=secret)

    def ask(bits: Int[Tensor, "prompt bit"]) -> Int[Tensor, "prompt pos"]:
        return torch.cat([bits, torch.full_like(bits[:, :1], 2)], dim=1)

    def answered(bits: Int[Tensor, "prompt bit"]) -> Batch:
        return sequences(ask(bits), parity(bits, subset.expand(len(bits), -1))[:, None])

    def inputs(n: int, rng: Generator, seed: int, split: str) -> Int[Tensor, "prompt bit"]:
        return draw_bits(n, n_bits=n_bits, rng=rng, seed=seed, split=split, fraction=test_fraction, what=name)

    def draw(n: int, *, rng: Generator, seed: int, split: str) -> Batch:
        return answered(inputs(n, rng, seed, split))

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        bits = inputs(n, rng, seed, "test")
        right = parity(bits, subset.expand(n, -1))
        flipped = flip_one(bits, subset.expand(n, -1), rng)
        return Prompts(clean=ask(bits), corrupt=ask(flipped), answer=right, wrong=1 - right)

    def required(tokens: Int[Tensor, "prompt pos"]) -> Bool[Tensor, "prompt query key"]:
        return fixed(tokens, [(n_bits, subset[0].tolist())])

    if 2**n_bits <= ENUMERABLE:
        in_test = lambda seed: listed_test(n_bits, seed=seed, fraction=test_fraction)  # noqa: E731
        parts = enumerated(answered(every_input(n_bits)), in_test)
    else:
        parts = drawn(draw, what=name)
    return Task(
        name=name,
        params={"n_bits": n_bits, "subset_size": subset_size, "secret": secret, "test_fraction": test_fraction},
        vocab=("0", "1", "="),
        n_ctx=n_bits + 1,
        chance=0.5,
        prompts=prompts,
        **parts,
        structure=Structure(required=required, subsets=(tuple(subset[0].tolist()),)),
    )


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    (subset,) = sparse_parity(**params).structure.subsets
    return {str(sum(int(words[bit]) for bit in subset) % 2)}
