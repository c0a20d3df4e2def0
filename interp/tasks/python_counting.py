"""Digits in Python source code: `depth = [3, 4, 5, ` goes on with 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks import _check
from interp.tasks._corpus import HELD_OUT, TRAIN, corpus
from interp.tasks._splits import drawn, sequences
from interp.types import Batch, Prompts, Task

if TYPE_CHECKING:
    from torch import Generator, Tensor

BRACKETS = "[("
TRIED: tuple[dict[str, Any], ...] = (
    {"n_names": 6, "vocab_size": 500, "train": ["click"], "held_out": ["requests"]},
    {"n_shown": 2, "n_names": 3, "vocab_size": 600, "train": ["requests", "anyio"], "held_out": ["urllib3"]},
)
"""Parameters that the tests try."""


def python_counting(
    *,
    n_shown: int = 3,
    n_names: int = 24,
    vocab_size: int = 1024,
    train: Sequence[str] = TRAIN,
    held_out: Sequence[str] = HELD_OUT,
) -> Task:
    """A list or tuple of `n_shown` digits, each one more than the one before; the answer is the next. A digit is one token.

    The corrupt prompt begins with another digit. Names are as in `python_names`; chance is 1/10. Snippets are made up.
    """
    text = corpus("python_counting", train, held_out, vocab_size, 16)
    _check.whole("python_counting", "n_shown", n_shown, low=2, high=8)
    _check.whole("python_counting", "n_names", n_names, low=1)
    vocab = text.vocab
    index = {word: token for token, word in enumerate(vocab)}
    names = text.names("python_counting", n_names)
    named = torch.tensor([index[name] for name in names])
    digits, brackets = (torch.tensor([index[sign] for sign in signs]) for signs in ("0123456789", BRACKETS))
    words = ["Ċ", "Ċ", "name", "Ġ", "=", "Ġ", "bracket", *["digit", ",", "Ġ"] * n_shown]
    row = torch.tensor([index.get(word, 0) for word in words])
    name_at, bracket_at, digit_at = (words.index(word) for word in ("name", "bracket", "digit"))

    def pairs(n: int, rng: Generator) -> tuple[Tensor, ...]:
        row_of = row.repeat(n, 1)
        row_of[:, name_at] = named[torch.randint(n_names, (n,), generator=rng)]
        row_of[:, bracket_at] = brackets[torch.randint(len(BRACKETS), (n,), generator=rng)]
        n_starts = 10 - n_shown
        start = torch.randint(n_starts, (n, 1), generator=rng)
        other = (start + torch.randint(1, n_starts, (n, 1), generator=rng)) % n_starts
        clean, corrupt = row_of.clone(), row_of.clone()
        for tokens, begin in ((clean, start), (corrupt, other)):
            tokens[:, digit_at::3] = digits[begin + torch.arange(n_shown)]
        return clean, corrupt, digits[start[:, 0] + n_shown], digits[other[:, 0] + n_shown]

    def draw(n: int, *, rng: Generator, seed: int, split: str) -> Batch:
        clean, _, answer, _ = pairs(n, rng)
        return sequences(clean, answer[:, None])

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        clean, corrupt, answer, wrong = pairs(n, rng)
        return Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=wrong)

    return Task(
        name="python_counting",
        params={"n_shown": n_shown, "n_names": n_names, **text.params},
        vocab=vocab,
        n_ctx=len(words),
        chance=1 / 10,
        prompts=prompts,
        **drawn(draw, what="python_counting"),
    )


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the digit after the last one, where they go up one by one."""
    shown = [int(word) for word in words if word.isdigit()]
    rising = all(b == a + 1 for a, b in pairwise(shown))
    return {str(shown[-1] + 1)} if rising else set()
