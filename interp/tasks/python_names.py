"""Copying the other one of two names in Python code: after `def both(path, mode):` and `return mode,` comes path.

The skill of indirect object identification (Wang et al. 2022, arXiv 2211.00593, and `ioi`) in the words of code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks import _check
from interp.tasks._corpus import HELD_OUT, TRAIN, corpus, tokenizer
from interp.tasks._splits import drawn, sequences
from interp.types import Batch, Prompts, Task

if TYPE_CHECKING:
    from torch import Generator, Tensor

TEMPLATES = (
    ("\n\n\ndef both(", "):\n    return", ","),
    ("\n\n\ndef both(", "):\n    yield", ","),
    ("\n\n\ndef __init__(", "):\n    super().__init__(key,", ","),
    ("\n\n    (", ") =", ","),
    ("\n\n    [", "] =", ","),
)
"""What stands before the two names, between them and the name that is said again, and behind it."""

TRIED: tuple[dict[str, Any], ...] = (
    {"n_names": 6, "vocab_size": 500, "train": ["click"], "held_out": ["requests"]},
    {"n_names": 2, "vocab_size": 600, "train": ["requests", "anyio"], "held_out": ["urllib3"]},
)
"""Parameters that the tests try."""


def python_names(
    *, n_names: int = 24, vocab_size: int = 1024, train: Sequence[str] = TRAIN, held_out: Sequence[str] = HELD_OUT
) -> Task:
    """Two different names, one of which is said again; the answer is the other. Names are the first `n_names` tokens of the
    vocabulary that are words of at least four small letters.

    The corrupt prompt says the other name again: one token differs, and the right answer is exchanged. Chance is
    1 / n_names. The snippets are made up and stand in no file.
    """
    text = corpus("python_names", train, held_out, vocab_size, 16)
    _check.whole("python_names", "n_names", n_names, low=2)
    vocab, learned = text.vocab, tokenizer(text.train, vocab_size)
    index = {word: token for token, word in enumerate(vocab)}
    names = text.names("python_names", n_names)
    bare, spaced = (torch.tensor([index[space + name] for name in names]) for space in ("", "Ġ"))

    parts = [[learned.encode(part).ids for part in (*template, ",")] for template in TEMPLATES]
    length = max(sum(map(len, part)) + 3 for part in parts)
    frames = []
    for before, middle, behind, comma in parts:  # the shorter ones begin with more empty lines
        before = [index["Ċ"]] * (length - 3 - sum(map(len, (before, middle, behind, comma)))) + before
        frames.append([*before, -1, *comma, -2, *middle, -3, *behind])
    rows = torch.tensor(frames)

    def pairs(n: int, rng: Generator) -> tuple[Tensor, ...]:
        frame = rows[torch.randint(len(rows), (n,), generator=rng)]
        first = torch.randint(n_names, (n,), generator=rng)
        second = (first + torch.randint(1, n_names, (n,), generator=rng)) % n_names
        first_again = torch.randint(2, (n,), generator=rng).bool()
        again, other = torch.where(first_again, first, second), torch.where(first_again, second, first)
        opened = frame.where(frame != -1, bare[first, None]).where(frame != -2, spaced[second, None])
        clean, corrupt = (opened.where(frame != -3, spaced[shown, None]) for shown in (again, other))
        return clean, corrupt, spaced[other], spaced[again]

    def draw(n: int, *, rng: Generator, seed: int, split: str) -> Batch:
        clean, _, answer, _ = pairs(n, rng)
        return sequences(clean, answer[:, None])

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        clean, corrupt, answer, wrong = pairs(n, rng)
        return Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=wrong)

    return Task(
        name="python_names",
        params={"n_names": n_names, **text.params},
        vocab=vocab,
        n_ctx=length,
        chance=1 / n_names,
        prompts=prompts,
        **drawn(draw, what="python_names"),
    )


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: from the text, of two names in brackets the one that does not come again."""
    code = "".join(words)
    found = re.search(r"[(\[](\w+),Ġ(\w+)[)\]]", code)
    assert found is not None
    again = code.rstrip(",").rpartition("Ġ")[2]
    return {f"Ġ{name}" for name in found.groups() if name != again}
