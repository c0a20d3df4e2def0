"""Subtraction of two numbers of n digits, the second not larger, one character a token: "76-48=" and then the digits
of 28.

The sub-tasks mirror those of addition in Quirke & Barez 2024 (arXiv 2310.13121), with borrows in the place of carries.
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

TRIED: tuple[dict[str, Any], ...] = ({"n_digits": 1}, {"n_digits": 3}, {"n_digits": 2, "order": "reversed"})
"""Parameters that the tests try."""


def subtraction(*, n_digits: int = 3, base: int = 10, order: str = "plain", test_fraction: float = 0.1) -> Task:
    """Pairs a ≥ b, uniform over all such pairs of numbers below base^n_digits; the answer has n_digits digits.

    Args:
        order: "plain" writes the answer from the left, as people do; "reversed" writes its units first.
        test_fraction: share of the pairs that are kept for testing.

    The corrupt prompt differs in one digit of one operand and has an answer with another first digit;
    `structure.digit_prompts(n, digit=, rng=)` asks for one later digit instead.
    structure.labels(tokens): Bool[prompt, answer_len] each: base (no borrow comes in), make_borrow (the digit of a is
    the smaller one), equal (the digits are equal), use_borrow (a borrow made one place below comes in), use_equal
    (one that the place below only passed on). Chance is 2 / (base^n_digits + 1): the likeliest difference is 0.
    """
    params = _columns.check("subtraction", n_digits=n_digits, base=base, order=order, test_fraction=test_fraction)
    n_numbers = base**n_digits

    def pairs(n: int, rng: Generator) -> tuple[Int[Tensor, "prompt"], Int[Tensor, "prompt"]]:
        # the rectangle of (x, y) with x ≤ n_numbers, y < n_numbers is two copies of the triangle a ≥ b, the second
        # one turned
        x = torch.randint(n_numbers + 1, (n,), generator=rng)
        y = torch.randint(n_numbers, (n,), generator=rng)
        turned = x <= y
        return torch.where(turned, n_numbers - 1 - x, x - 1), torch.where(turned, n_numbers - 1 - y, y)

    def all_pairs() -> tuple[Int[Tensor, "prompt"], Int[Tensor, "prompt"]]:
        a, b = torch.tril_indices(n_numbers, n_numbers)
        return a, b

    def labels(
        a: Int[Tensor, "prompt place"], b: Int[Tensor, "prompt place"]
    ) -> dict[str, Bool[Tensor, "prompt place"]]:
        makes, passes = a < b, a == b
        use_borrow, use_equal = (borrow[:, :-1] for borrow in _columns.carries(makes, passes))
        return {
            "base": ~(use_borrow | use_equal),
            "make_borrow": makes,
            "equal": passes,
            "use_borrow": use_borrow,
            "use_equal": use_equal,
        }

    return _columns.task(
        _columns.Operation(
            name="subtraction",
            sign="-",
            params=params,
            chance=2 / (n_numbers + 1),
            answer_len=n_digits,
            calculate=torch.sub,
            pairs=pairs,
            all_pairs=all_pairs,
            legal=torch.ge,
            key=lambda a, b: torch.stack([a, b], dim=1),
            labels=labels,
        )
    )


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    return _columns.by_hand(words, "-", params)
