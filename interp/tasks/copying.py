"""Copying: random tokens, a separator, and then the same tokens again.

The simplest skill that needs attention to one earlier position per output, in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks import _check
from interp.tasks._positions import fixed
from interp.tasks._splits import drawn, sequences
from interp.types import Batch, Prompts, Structure, Task

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Generator, Tensor

TRIED: tuple[dict[str, Any], ...] = ({}, {"vocab_size": 2, "length": 1})
"""Parameters that the tests try."""


def copying(*, vocab_size: int = 32, length: int = 8) -> Task:
    """`length` tokens uniform over `vocab_size`, token `vocab_size` as separator, an answer of `length` tokens.

    The corrupt prompt has another token at every place but the separator, so that every answer token differs.
    Chance is vocab_size^−length.
    """
    _check.whole("copying", "vocab_size", vocab_size, low=2)
    _check.whole("copying", "length", length, low=1)

    def ask(tokens: Int[Tensor, "prompt length"]) -> Int[Tensor, "prompt pos"]:
        return torch.cat([tokens, torch.full_like(tokens[:, :1], vocab_size)], dim=1)

    def draw(n: int, *, rng: Generator, seed: int, split: str) -> Batch:
        tokens = torch.randint(vocab_size, (n, length), generator=rng)
        return sequences(ask(tokens), tokens)

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        tokens = torch.randint(vocab_size, (n, length), generator=rng)
        others = (tokens + torch.randint(1, vocab_size, (n, length), generator=rng)) % vocab_size
        answer, wrong = (x.squeeze(1) if length == 1 else x for x in (tokens, others))
        return Prompts(clean=ask(tokens), corrupt=ask(others), answer=answer, wrong=wrong)

    def required(tokens: Int[Tensor, "prompt pos"]) -> Bool[Tensor, "prompt query key"]:
        """The output at place i reads input i."""
        return fixed(tokens, ((length + place, [place]) for place in range(length)))

    return Task(
        name="copying",
        params={"vocab_size": vocab_size, "length": length},
        vocab=(*(f"t{token}" for token in range(vocab_size)), "|"),
        n_ctx=2 * length,
        chance=float(vocab_size) ** -length,
        answer_len=length,
        prompts=prompts,
        **drawn(draw, what="copying"),
        structure=Structure(required=required),
    )


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    return {words[len(words) - 1 - words.index("|")]}
