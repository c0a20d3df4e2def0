"""Dyck languages: balanced brackets of several kinds; which bracket closes next is settled by the one still open.

The skill of Hewitt et al. 2020 (arXiv 2010.07515) and Yao et al. 2021 (arXiv 2105.11115), scored where a bracket
closes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks import _check
from interp.tasks._splits import drawn, fill
from interp.types import Batch, Prompts, Structure, Task

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Generator, Tensor

BRACKETS = ("()", "[]", "{}", "<>")

TRIED: tuple[dict[str, Any], ...] = ({}, {"n_kinds": 2, "n_pairs": 2}, {"n_kinds": 5, "n_pairs": 9})
"""Parameters that the tests try."""


def dyck(*, n_kinds: int = 3, n_pairs: int = 16) -> Task:
    """Words of n_pairs bracket pairs, uniform over the ways to nest and the kinds. Token k opens kind k, n_kinds + k
    closes it.

    A position is scored where the next bracket closes: its kind is then certain. Prompts are the first tokens of such
    words, a fixed odd number of them, before a bracket that closes; the corrupt one has another kind of bracket where
    that pair opens. structure.groups(tokens): depth and distance (to the opening bracket) of the bracket that a
    prompt asks for. Chance is 1 / n_kinds.
    """
    _check.whole("dyck", "n_kinds", n_kinds, low=2, high=26)
    _check.whole("dyck", "n_pairs", n_pairs, low=2)
    cut = (3 * n_pairs // 2) | 1  # three quarters of the way, where both directions are usual

    def words(n: int, rng: Generator) -> tuple[Int[Tensor, "prompt pos"], Bool[Tensor, "prompt pos"]]:
        opens = _nestings(n, n_pairs, rng)
        kinds = torch.randint(n_kinds, (n, n_pairs), generator=rng)
        return _bracket(opens, kinds, n_kinds), opens

    def draw(n: int, *, rng: Generator, seed: int, split: str) -> Batch:
        word, opens = words(n, rng)
        targets = word.masked_fill(opens, -1)[:, 1:]
        return Batch(tokens=word[:, :-1].contiguous(), targets=targets.contiguous())

    def fit(m: int, rng: Generator) -> tuple[Tensor, ...]:
        word, opens = words(m, rng)
        closing = ~opens[:, cut]
        return word[closing, :cut], word[closing, cut]

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        clean, answer = fill(n, lambda m: fit(m, rng), what="dyck")
        shift = torch.randint(1, n_kinds, (n,), generator=rng)
        wrong = n_kinds + (answer - n_kinds + shift) % n_kinds
        opener = _last_open(clean, n_kinds)
        corrupt = clean.scatter(1, opener[:, None], (wrong - n_kinds)[:, None])
        return Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=wrong)

    def groups(tokens: Int[Tensor, "prompt pos"]) -> dict[str, Int[Tensor, "prompt"]]:
        depth = _depths(tokens < n_kinds)[:, -1]
        return {"depth": depth, "distance": tokens.shape[1] - _last_open(tokens, n_kinds)}

    return Task(
        name="dyck",
        params={"n_kinds": n_kinds, "n_pairs": n_pairs},
        vocab=_vocab(n_kinds),
        n_ctx=2 * n_pairs - 1,
        chance=1 / n_kinds,
        prompts=prompts,
        **drawn(draw, what="dyck"),
        structure=Structure(groups=groups, required=lambda tokens: _open_at(tokens < n_kinds)),
    )


def _vocab(n_kinds: int) -> tuple[str, ...]:
    pairs = BRACKETS if n_kinds <= len(BRACKETS) else [chr(65 + kind) + chr(97 + kind) for kind in range(n_kinds)]
    return (*(pair[0] for pair in pairs[:n_kinds]), *(pair[1] for pair in pairs[:n_kinds]))


def _nestings(n: int, n_pairs: int, rng: Generator) -> Bool[Tensor, "prompt pos"]:
    """Where brackets open, uniform over all balanced ways.

    Cycle lemma: of the 2n+1 rotations of a sequence of n ups and n+1 downs exactly one stays at or above 0 until its
    last down; it begins after the first time that the sequence reaches its minimum.
    """
    length = 2 * n_pairs + 1
    up = torch.rand(n, length, generator=rng).argsort(1) < n_pairs
    lowest = (2 * up.long() - 1).cumsum(1).argmin(1, keepdim=True)
    return up.gather(1, (lowest + 1 + torch.arange(length - 1)) % length)


def _depths(opens: Bool[Tensor, "prompt pos"]) -> Int[Tensor, "prompt pos"]:
    """How many brackets are open after each position."""
    return (2 * opens.long() - 1).cumsum(1)


def _bracket(
    opens: Bool[Tensor, "prompt pos"], kinds: Int[Tensor, "prompt pair"], n_kinds: int
) -> Int[Tensor, "prompt pos"]:
    """Give each pair its kind. Sorted by depth, brackets of one depth open and close in turn: neighbours are pairs."""
    inside = _depths(opens) + (~opens).long()
    order = inside.argsort(dim=1, stable=True)
    kind = torch.empty_like(order).scatter(1, order, kinds.repeat_interleave(2, dim=1))
    return kind + n_kinds * (~opens).long()


def _open_at(opens: Bool[Tensor, "prompt pos"]) -> Bool[Tensor, "prompt query key"]:
    """For every position the innermost bracket that is open after it: the last one that opened to the present depth."""
    depth = _depths(opens)
    same = (opens[:, None, :] & (depth[:, None, :] == depth[:, :, None])).tril()
    later = same.flip(2).cumsum(2).flip(2)
    return same & (later == 1)


def _last_open(tokens: Int[Tensor, "prompt pos"], n_kinds: int) -> Int[Tensor, "prompt"]:
    """Where the innermost bracket that is open at the end was opened."""
    opens = tokens < n_kinds
    depth = _depths(opens)
    to_here = opens & (depth == depth[:, -1:])
    return torch.where(to_here, torch.arange(tokens.shape[1]), -1).amax(1)


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    pairs = {"(": ")", "[": "]", "{": "}", "<": ">"}
    if params["n_kinds"] > len(pairs):
        pairs = {chr(65 + kind): chr(97 + kind) for kind in range(params["n_kinds"])}
    stack: list[str] = []
    for word in words:
        if word in pairs:
            stack.append(pairs[word])
        elif stack.pop() != word:
            return set()
    return {stack[-1]}
