"""Modular subtraction: the sequence (a, b, =), the answer (a − b) mod p (after Power et al. 2022, arXiv 2201.02177)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from interp.tasks._modular import modular_task
from interp.types import Task

TRIED: tuple[dict[str, Any], ...] = ({"p": 7},)
"""Parameters that the tests try."""


def modular_subtraction(*, p: int = 113, train_fraction: float = 0.3) -> Task:
    """Subtraction modulo p over all ordered pairs. Chance is 1 / p. The corrupt prompt has another a, b and answer.

    Args:
        p: the modulus, at least 2.
        train_fraction: share of the p² pairs that may be learned from, in (0, 1).
    """
    return modular_task("modular_subtraction", torch.sub, params={"p": p, "train_fraction": train_fraction})


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    return {str((int(words[0]) - int(words[1])) % params["p"])}
