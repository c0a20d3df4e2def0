"""Addition of two numbers of n digits, one character a token: "48+76=" and then the digits of 124.

Quirke & Barez 2024 (arXiv 2310.13121), whose sub-tasks are the labels: each answer digit is learned in its own jump.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks import _columns
from interp.types import Task

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Generator, Tensor

TRIED: tuple[dict[str, Any], ...] = (
    {"n_digits": 1},
    {"n_digits": 3},
    {"n_digits": 4, "order": "reversed"},
    {"n_digits": 3, "base": 2},
)
"""Parameters that the tests try."""


def addition(*, n_digits: int = 3, base: int = 10, order: str = "plain", test_fraction: float = 0.1) -> Task:
    """Operands uniform in 0 … base^n_digits − 1, written with all their digits; the answer has n_digits + 1.

    Args:
        order: "plain" writes the answer from the left, as people do; "reversed" writes its units first.
        test_fraction: share of the unordered pairs of operands that are kept for testing.

    The corrupt prompt differs in one digit of one operand and has an answer with another first digit (in the plain
    order, the digits that decide the overflow); `structure.digit_prompts(n, digit=, rng=)` asks for one later digit
    instead. structure.labels(tokens): Bool[prompt, answer_len] each: base (no carry comes in), make_carry (the digits
    of this place sum to base or more), sum_9 (to base − 1), use_carry (a carry made one place below comes in),
    use_sum_9 (a carry comes in that the place below only passed on). Chance is base^−n_digits: the likeliest sum is
    base^n_digits − 1.
    """
    params = _columns.check("addition", n_digits=n_digits, base=base, order=order, test_fraction=test_fraction)
    n_numbers = base**n_digits

    def pairs(n: int, rng: Generator) -> tuple[Int[Tensor, "prompt"], Int[Tensor, "prompt"]]:
        both = torch.randint(n_numbers, (2, n), generator=rng)
        return both[0], both[1]

    def all_pairs() -> tuple[Int[Tensor, "prompt"], Int[Tensor, "prompt"]]:
        every = torch.arange(n_numbers**2)
        return every // n_numbers, every % n_numbers

    def labels(
        a: Int[Tensor, "prompt place"], b: Int[Tensor, "prompt place"]
    ) -> dict[str, Bool[Tensor, "prompt place"]]:
        makes, passes = a + b >= base, a + b == base - 1
        use_carry, use_sum_9 = _columns.carries(makes, passes)
        none_above = torch.zeros_like(makes[:, :1])
        return {
            "base": ~(use_carry | use_sum_9),
            "make_carry": torch.cat([makes, none_above], dim=1),
            "sum_9": torch.cat([passes, none_above], dim=1),
            "use_carry": use_carry,
            "use_sum_9": use_sum_9,
        }

    return _columns.task(
        _columns.Operation(
            name="addition",
            sign="+",
            params=params,
            chance=1 / n_numbers,
            answer_len=n_digits + 1,
            calculate=torch.add,
            pairs=pairs,
            all_pairs=all_pairs,
            legal=lambda a, b: torch.ones_like(a, dtype=torch.bool),
            key=lambda a, b: torch.stack([torch.minimum(a, b), torch.maximum(a, b)], dim=1),
            labels=labels,
        )
    )


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    return _columns.by_hand(words, "+", params)
