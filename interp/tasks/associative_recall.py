"""Associative recall: pairs of a key and its value, then keys again, each to be answered with its value.

Ba et al. 2016 (arXiv 1610.06258); several queries a sequence as in Arora et al. 2023 (arXiv 2312.04927).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks import _check
from interp.tasks._positions import after_earlier_occurrences, after_the_last_same
from interp.tasks._splits import drawn
from interp.types import Batch, Prompts, Structure, Task

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Generator, Tensor

TRIED: tuple[dict[str, Any], ...] = ({}, {"n_keys": 2, "n_values": 2, "n_pairs": 2, "n_queries": 1})
"""Parameters that the tests try."""


def associative_recall(*, n_keys: int = 16, n_values: int = 16, n_pairs: int = 8, n_queries: int = 4) -> Task:
    """n_pairs different keys with values drawn independently, then n_queries of the keys, each followed by its value.

    Prompts ask for one key. The corrupt prompt exchanges that key with another one whose value differs: the same
    tokens are there, bound otherwise. Keys and values are different tokens. Chance is 1 / n_values.
    """
    name = "associative_recall"
    _check.whole(name, "n_values", n_values, low=2)
    _check.whole(name, "n_pairs", n_pairs, low=2)
    _check.whole(name, "n_keys", n_keys, low=n_pairs)
    _check.whole(name, "n_queries", n_queries, low=1, high=n_pairs)

    def pairs(n: int, rng: Generator) -> tuple[Int[Tensor, "prompt pair"], Int[Tensor, "prompt pair"]]:
        keys = torch.rand(n, n_keys, generator=rng).topk(n_pairs).indices
        return keys, n_keys + torch.randint(n_values, (n, n_pairs), generator=rng)

    def interleave(keys: Int[Tensor, "prompt pair"], values: Int[Tensor, "prompt pair"]) -> Int[Tensor, "prompt pos"]:
        return torch.stack([keys, values], dim=2).flatten(1)

    def draw(n: int, *, rng: Generator, seed: int, split: str) -> Batch:
        keys, values = pairs(n, rng)
        asked = torch.rand(n, n_pairs, generator=rng).topk(n_queries).indices
        queries, replies = keys.gather(1, asked), values.gather(1, asked)
        sequence = torch.cat([interleave(keys, values), interleave(queries, replies)], dim=1)[:, :-1]
        targets = torch.full_like(sequence, -1)
        targets[:, 2 * n_pairs :: 2] = replies
        return Batch(tokens=sequence.contiguous(), targets=targets)

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        keys, values = pairs(n, rng)
        asked, other = torch.rand(n, n_pairs, generator=rng).topk(2).indices.tensor_split(2, dim=1)
        answer, wrong = values.gather(1, asked), values.gather(1, other)
        shift = torch.randint(1, n_values, (n, 1), generator=rng)
        wrong = torch.where(answer == wrong, n_keys + (wrong - n_keys + shift) % n_values, wrong)
        values = values.scatter(1, other, wrong)
        query = keys.gather(1, asked)
        exchanged = keys.scatter(1, asked, keys.gather(1, other)).scatter(1, other, query)
        return Prompts(
            clean=torch.cat([interleave(keys, values), query], dim=1),
            corrupt=torch.cat([interleave(exchanged, values), query], dim=1),
            answer=answer.squeeze(1),
            wrong=wrong.squeeze(1),
        )

    return Task(
        name=name,
        params={"n_keys": n_keys, "n_values": n_values, "n_pairs": n_pairs, "n_queries": n_queries},
        vocab=(*(f"k{key}" for key in range(n_keys)), *(f"v{value}" for value in range(n_values))),
        n_ctx=2 * (n_pairs + n_queries) - 1,
        chance=1 / n_values,
        prompts=prompts,
        **drawn(draw, what=name),
        structure=Structure(required=after_earlier_occurrences, any_tokens=True),
    )


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    return after_the_last_same(words)
