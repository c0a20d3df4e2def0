"""Induction: a pattern of distinct random tokens repeats, and after A comes what came after the earlier A.

Olsson et al. 2022 (arXiv 2209.11895). The period is drawn anew for every sequence, so that attending a fixed number of
positions back does not solve it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks import _check
from interp.tasks._language import words
from interp.tasks._positions import after_earlier_occurrences, after_the_last_same
from interp.tasks._splits import N_LONG, drawn
from interp.types import Batch, Prompts, Structure, Task, TextForm, Texts

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Generator, Tensor

WORDS = words(
    "apple bank bear bird boat bone book bridge cake car cat chair cloud coin corn cow cup desk dog door dream drum "
    "farm field fire fish floor flower gate glass gold grass hand hat hill horse house island key king lake lamp leaf "
    "moon mouse night ocean paper park pen pipe queen rain ring river road rock roof rose salt school ship snow star"
)
"""What the first 64 tokens of the own vocabulary are called in text: words of one token under common tokenizers."""

TRIED: tuple[dict[str, Any], ...] = ({}, {"vocab_size": 5, "length": 7, "min_period": 3, "max_period": 5})
"""Parameters that the tests try."""


def induction(*, vocab_size: int = 64, length: int = 48, min_period: int = 8, max_period: int = 24) -> Task:
    """Sequences of `length` tokens, periodic with a period drawn from min_period … max_period; scored from the second
    period on.

    The corrupt prompt exchanges two tokens of the pattern, A (the last token) and another one, everywhere but at the
    last position: the same tokens are there, the query is the same, only what came after A is different. `wrong` is
        that token. As text, a list of words (of at most 64 different ones), each with the space before it.
    """
    _check.whole("induction", "min_period", min_period, low=3)
    _check.whole("induction", "max_period", max_period, low=min_period)
    _check.whole("induction", "length", length, low=max_period + 2)
    _check.whole("induction", "vocab_size", vocab_size, low=max_period)

    def pattern(n: int, rng: Generator) -> tuple[Int[Tensor, "prompt pattern"], Int[Tensor, "prompt 1"]]:
        tokens = torch.rand(n, vocab_size, generator=rng).topk(max_period).indices
        return tokens, torch.randint(min_period, max_period + 1, (n, 1), generator=rng)

    def unroll(tokens: Int[Tensor, "prompt pattern"], period: Int[Tensor, "prompt 1"]) -> Int[Tensor, "prompt pos"]:
        return tokens.gather(1, torch.arange(length + 1) % period)

    def draw(n: int, *, rng: Generator, seed: int, split: str) -> Batch:
        tokens, period = pattern(n, rng)
        sequence = unroll(tokens, period)
        repeated = torch.arange(length) >= period
        return Batch(tokens=sequence[:, :-1].contiguous(), targets=sequence[:, 1:].where(repeated, -1))

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        tokens, period = pattern(n, rng)
        clean = unroll(tokens, period)
        query = (length - 1) % period
        step = 1 + (torch.rand(n, 1, generator=rng) * (period - 2)).long()  # 1 … period−2: never the token before A
        other = (query + step) % period
        exchanged = tokens.scatter(1, query, tokens.gather(1, other)).scatter(1, other, tokens.gather(1, query))
        corrupt = unroll(exchanged, period)[:, :length]
        corrupt[:, -1] = clean[:, length - 1]
        wrong = exchanged.gather(1, (other + 1) % period).squeeze(1)
        return Prompts(clean=clean[:, :length].contiguous(), corrupt=corrupt, answer=clean[:, length], wrong=wrong)

    def texts(n: int, *, rng: Generator, seed: int = 0, split: str = "test") -> Texts:
        pairs = prompts(n, rng=rng)
        lists = (pairs.clean, pairs.corrupt, pairs.answer[:, None], pairs.wrong[:, None])
        clean, corrupt, answer, wrong = (
            tuple("".join(f" {WORDS[token]}" for token in row) for row in part.tolist()) for part in lists
        )
        return Texts(clean=clean, corrupt=corrupt, answer=answer, wrong=wrong)

    return Task(
        name="induction",
        params={"vocab_size": vocab_size, "length": length, "min_period": min_period, "max_period": max_period},
        vocab=tuple(f"t{token}" for token in range(vocab_size)),
        n_ctx=length,
        chance=1 / vocab_size,
        prompts=prompts,
        **drawn(draw, what="induction", n_sample=N_LONG),
        structure=Structure(required=after_earlier_occurrences, any_tokens=True),
        text=TextForm(texts=texts) if vocab_size <= len(WORDS) else None,
    )


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    return after_the_last_same(words)
