"""Modular multiplication: the sequence (a, b, =), the answer a·b mod p (after Power et al. 2022, arXiv 2201.02177)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from interp.tasks._modular import modular_task
from interp.types import Task

TRIED: tuple[dict[str, Any], ...] = ({"p": 7}, {"p": 8, "split": "unordered"})
"""Parameters that the tests try."""


def modular_multiplication(*, p: int = 113, train_fraction: float = 0.3, split: str = "ordered") -> Task:
    """Multiplication modulo p over all pairs, 0 included. The corrupt prompt has another a, b and answer.

    Chance is the share of pairs whose product is 0 mod p, the commonest answer: (2p − 1) / p² for a prime p.

    Args:
        p: the modulus, at least 2.
        train_fraction: share of the inputs (ordered) or of the unordered pairs that may be learned from, in (0, 1).
        split: "ordered" or "unordered" pairs are dealt to training and test; with ordered ones, (b, a) gives (a, b)
            away.
    """
    params = {"p": p, "train_fraction": train_fraction, "split": split}
    return modular_task("modular_multiplication", torch.mul, params=params)


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    return {str(int(words[0]) * int(words[1]) % params["p"])}
