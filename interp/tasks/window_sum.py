"""Moving-window sum: numbers modulo p, a separator, and then the sum of each number with the ones just before it.

Gopalani & Hu 2025 (arXiv 2506.13688 studies the loss plateau that ends in a jump): y_i = x_{i−w+1} + … + x_i mod p,
cut off at the beginning, so that y_1 = x_1; there p = 17, n = 16, w = 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks import _check
from interp.tasks._positions import fixed
from interp.tasks._splits import N_LONG, drawn, sequences
from interp.types import Batch, Prompts, Structure, Task

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Generator, Tensor

TRIED: tuple[dict[str, Any], ...] = ({}, {"p": 3, "length": 4, "window": 2}, {"p": 7, "length": 6, "window": 3})
"""Parameters that the tests try."""


def window_sum(*, p: int = 17, length: int = 16, window: int = 2) -> Task:
    """`length` numbers below p, token p as separator, an answer of `length` numbers.

    The corrupt prompt adds the same number to every input, one for which every sum changes (1 does: window < p).
    structure.required(tokens): each output's window, on which the *attention progress* of the paper is measured.
    Chance is p^−length: inputs and sums determine each other.
    """
    _check.whole("window_sum", "p", p, low=2)
    _check.whole("window_sum", "length", length, low=1)
    _check.whole("window_sum", "window", window, low=1, high=min(length, p - 1))
    shifts = torch.tensor([c for c in range(1, p) if all(m * c % p for m in range(1, window + 1))])

    def sums(x: Int[Tensor, "prompt length"]) -> Int[Tensor, "prompt length"]:
        total = torch.nn.functional.pad(x.cumsum(1), (window, 0))
        return (total[:, window:] - total[:, :-window]) % p

    def ask(x: Int[Tensor, "prompt length"]) -> Int[Tensor, "prompt pos"]:
        return torch.cat([x, torch.full_like(x[:, :1], p)], dim=1)

    def draw(n: int, *, rng: Generator, seed: int, split: str) -> Batch:
        x = torch.randint(p, (n, length), generator=rng)
        return sequences(ask(x), sums(x))

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        x = torch.randint(p, (n, length), generator=rng)
        other = (x + shifts[torch.randint(len(shifts), (n, 1), generator=rng)]) % p
        answer, wrong = (y.squeeze(1) if length == 1 else y for y in (sums(x), sums(other)))
        return Prompts(clean=ask(x), corrupt=ask(other), answer=answer, wrong=wrong)

    def required(tokens: Int[Tensor, "prompt pos"]) -> Bool[Tensor, "prompt query key"]:
        return fixed(
            tokens, ((length + place, range(max(place - window + 1, 0), place + 1)) for place in range(length))
        )

    return Task(
        name="window_sum",
        params={"p": p, "length": length, "window": window},
        vocab=(*map(str, range(p)), "|"),
        n_ctx=2 * length,
        chance=float(p) ** -length,
        answer_len=length,
        prompts=prompts,
        **drawn(draw, what="window_sum", n_sample=N_LONG),
        structure=Structure(required=required),
    )


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    place = len(words) - 1 - words.index("|")
    window = words[max(place - params["window"] + 1, 0) : place + 1]
    return {str(sum(map(int, window)) % params["p"])}
