"""Which earlier positions a query has to read: Bool[prompt, query, key], as `task.structure.required(tokens)` gives
it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jaxtyping import Bool, Int
    from torch import Tensor


def after_earlier_occurrences(tokens: Int[Tensor, "prompt pos"]) -> Bool[Tensor, "prompt query key"]:
    """The keys that follow an earlier occurrence of the query's token."""
    same = (tokens[:, :, None] == tokens[:, None, :]).tril(-1)
    return torch.cat([torch.zeros_like(same[:, :, :1]), same[:, :, :-1]], dim=2)


def fixed(
    tokens: Int[Tensor, "prompt pos"], queries_and_keys: Iterable[tuple[int, Iterable[int]]]
) -> Bool[Tensor, "prompt query key"]:
    """The same keys in every prompt, for each query; queries beyond the tokens given are left out."""
    n_prompts, n_pos = tokens.shape
    needed = torch.zeros(n_pos, n_pos, dtype=torch.bool)
    for query, keys in queries_and_keys:
        if query < n_pos:
            needed[query, list(keys)] = True
    return needed.expand(n_prompts, -1, -1)


def after_the_last_same(words: Sequence[str]) -> set[str]:
    """By brute force: the word after the last earlier occurrence of the last one, none if there is none."""
    followers = [words[i + 1] for i in range(len(words) - 1) if words[i] == words[-1]]
    return set(followers[-1:])
