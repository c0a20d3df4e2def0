"""Multitask sparse parity: a token names a sub-task, which has its own secret bits; sub-tasks are as frequent as
Zipf's law says.

Michaud et al. 2023 (arXiv 2303.13506): each sub-task is learned in a jump of its own, the frequent ones first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import comb
from typing import TYPE_CHECKING, Any

import torch

from interp.seeds import derive
from interp.tasks import _check
from interp.tasks._parity import draw_bits, flip_one, parity, secret_subsets
from interp.tasks._splits import drawn, sequences
from interp.types import Batch, Prompts, Structure, Task

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Generator, Tensor

TRIED: tuple[dict[str, Any], ...] = ({"n_tasks": 4, "n_bits": 8, "subset_size": 2},)
"""Parameters that the tests try."""


def multitask_parity(
    *,
    n_tasks: int = 8,
    n_bits: int = 20,
    subset_size: int = 3,
    exponent: float = 1.4,
    secret: int = 0,
    test_fraction: float = 0.1,
) -> Task:
    """Sub-task i (from 0) has frequency proportional to (i + 1)^−exponent; the sequence is its token, the bits and "=".

    secret: the seed of the choice of the subsets, all different, which are `structure.subsets`. test_fraction: share
    of each sub-task's inputs kept for testing. The corrupt prompt flips one bit of the sub-task's subset. Chance is 1/2.
    structure.groups(tokens): {"subtask": Int[prompt]}; structure.frequencies; `structure.subtask_prompts(n, subtask=,
    rng=)` gives prompts of one sub-task, the ordinary ones mix them at their frequencies.
    """
    name = "multitask_parity"
    _check.whole(name, "n_bits", n_bits, low=2)
    _check.whole(name, "subset_size", subset_size, low=1, high=n_bits)
    _check.whole(name, "n_tasks", n_tasks, low=1, high=comb(n_bits, subset_size))
    _check.positive(name, "exponent", exponent)
    _check.whole(name, "secret", secret, low=0)
    _check.fraction(name, "test_fraction", test_fraction)
    frequencies = torch.arange(1, n_tasks + 1, dtype=torch.float64) ** -exponent
    skill = Parities(
        subsets=secret_subsets(n_tasks, n_bits=n_bits, subset_size=subset_size, secret=secret),
        frequencies=frequencies / frequencies.sum(),
        n_bits=n_bits,
        test_fraction=test_fraction,
    )
    return Task(
        name=name,
        params={
            "n_tasks": n_tasks,
            "n_bits": n_bits,
            "subset_size": subset_size,
            "exponent": exponent,
            "secret": secret,
            "test_fraction": test_fraction,
        },
        vocab=("0", "1", "=", *(f"task{subtask}" for subtask in range(n_tasks))),
        n_ctx=n_bits + 2,
        chance=0.5,
        prompts=partial(_prompts, skill, subtask=None),
        **drawn(partial(_draw, skill), what=name),
        structure=Structure(
            groups=lambda tokens: {"subtask": tokens[:, 0] - 3},
            required=partial(_required, skill),
            subsets=tuple(tuple(subset) for subset in skill.subsets.tolist()),
            frequencies=tuple(skill.frequencies.tolist()),
            subtask_prompts=partial(_prompts, skill),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parities:
    """The sub-tasks: each one's secret bits [subtask, subset_size], and how frequent it is."""

    subsets: Int[Tensor, "subtask subset_size"]
    frequencies: Float[Tensor, "subtask"]
    n_bits: int
    test_fraction: float


def _ask(subtask: Int[Tensor, "prompt"], bits: Int[Tensor, "prompt bit"]) -> Int[Tensor, "prompt pos"]:
    return torch.cat([3 + subtask[:, None], bits, torch.full_like(bits[:, :1], 2)], dim=1)


def _inputs(
    skill: Parities, n: int, rng: Generator, seed: int, split: str, subtask: int | None = None
) -> tuple[Int[Tensor, "prompt"], Int[Tensor, "prompt bit"]]:
    """The sub-task is chosen before its bits, so that its frequency is the same on both sides of the split."""
    if subtask is None:
        which = skill.frequencies.multinomial(n, True, generator=rng)
    else:
        which = torch.full((n,), subtask)
    bits = torch.empty(n, skill.n_bits, dtype=torch.long)
    for one in which.unique().tolist():
        own = which == one
        bits[own] = draw_bits(
            int(own.sum()), n_bits=skill.n_bits, rng=rng, seed=derive(seed, "subtask", one), split=split,
            fraction=skill.test_fraction, what="multitask_parity",
        )  # fmt: skip
    return which, bits


def _draw(skill: Parities, n: int, *, rng: Generator, seed: int, split: str) -> Batch:
    subtask, bits = _inputs(skill, n, rng, seed, split)
    return sequences(_ask(subtask, bits), parity(bits, skill.subsets[subtask])[:, None])


def _prompts(skill: Parities, n: int, *, subtask: int | None, rng: Generator, seed: int = 0) -> Prompts:
    """Prompts of one sub-task; of all, at their frequencies, for None."""
    if subtask is not None:
        _check.whole("multitask_parity", "subtask", subtask, low=0, high=len(skill.subsets) - 1)
    which, bits = _inputs(skill, n, rng, seed, "test", subtask)
    right = parity(bits, skill.subsets[which])
    flipped = flip_one(bits, skill.subsets[which], rng)
    return Prompts(clean=_ask(which, bits), corrupt=_ask(which, flipped), answer=right, wrong=1 - right)


def _required(skill: Parities, tokens: Int[Tensor, "prompt pos"]) -> Bool[Tensor, "prompt query key"]:
    """The answer reads the sub-task's token and its bits."""
    needed = torch.zeros(*tokens.shape, tokens.shape[1], dtype=torch.bool)
    keys = torch.cat([torch.zeros_like(tokens[:, :1]), 1 + skill.subsets[tokens[:, 0] - 3]], dim=1)
    needed[:, skill.n_bits + 1].scatter_(1, keys, True)
    return needed


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    subset = multitask_parity(**params).structure.subsets[int(words[0][4:])]
    return {str(sum(int(words[1 + bit]) for bit in subset) % 2)}
