"""Modular addition: the sequence (a, b, =), the answer (a + b) mod p at the last position (Nanda et al. 2023, arXiv
2301.05217)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from interp.tasks._modular import modular_task
from interp.types import Task

TRIED: tuple[dict[str, Any], ...] = ({"p": 7},)
"""Parameters that the tests try."""


def modular_addition(
    *, p: int = 113, train_fraction: float = 0.3, split: str = "ordered", shuffle_labels: bool = False
) -> Task:
    """Addition modulo p over all pairs. Chance is 1 / p. The corrupt prompt has another a, b and answer.

    Args:
        p: the modulus, at least 2 (prime in the literature; nothing here needs it).
        train_fraction: share of the inputs (ordered) or of the unordered pairs that may be learned from, in (0, 1).
        split: "ordered" or "unordered" pairs are dealt to training and test; with ordered ones, (b, a) gives (a, b)
            away.
        shuffle_labels: the answers of all p² inputs are permuted at random, once per seed, so that nothing generalises.
    """
    params = {"p": p, "train_fraction": train_fraction, "split": split, "shuffle_labels": shuffle_labels}
    return modular_task("modular_addition", torch.add, params=params, shuffle_labels=shuffle_labels)


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    return {str((int(words[0]) + int(words[1])) % params["p"])}
