"""Indentation in Python source code: after a colon at the end of a line, the next line stands four spaces further in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks._corpus import HELD_OUT, TRAIN, corpus
from interp.tasks._splits import drawn, fill
from interp.types import Batch, Prompts, Structure, Task

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Generator, Tensor

N_WINDOWS = 64
"""Windows in a split."""

TRIED: tuple[dict[str, Any], ...] = (
    {"length": 32, "vocab_size": 400, "train": ["click"], "held_out": ["requests"]},
    {"length": 48, "vocab_size": 500, "train": ["requests", "anyio"], "held_out": ["urllib3"]},
)
"""Parameters that the tests try."""


def python_indentation(
    *, length: int = 128, vocab_size: int = 1024, train: Sequence[str] = TRAIN, held_out: Sequence[str] = HELD_OUT
) -> Task:
    """Windows of `python_source`, scored after a colon that ends a line, where the next line is four spaces further in than
    the line with the colon (a line break and its indentation are one token).

    Prompts are windows up to such a colon; in the corrupt one the line with the colon is indented otherwise, and nothing
    else is changed: `wrong` is four spaces further in than that. Chance is one over the number of indentations.
    """
    text = corpus("python_indentation", train, held_out, vocab_size, length)
    vocab = text.vocab
    colon, width, deeper = vocab.index(":"), _widths(vocab), _deeper(vocab)
    lines = (deeper >= 0).nonzero()[:, 0]  # the line breaks that can be indented further

    def line_at(tokens: Int[Tensor, "prompt pos"]) -> Int[Tensor, "prompt pos"]:
        """Where the line of each position begins: the last line break at or before it; -1 where there is none."""
        places = torch.arange(tokens.shape[1]).where(width[tokens] >= 0, -1)
        return places.cummax(1).values

    def scored(windows: Int[Tensor, "prompt pos"]) -> Bool[Tensor, "prompt pos"]:
        tokens, line = windows[:, :-1], line_at(windows[:, :-1])
        expected = deeper[windows.gather(1, line.clamp(min=0))]
        return (tokens == colon) & (line >= 0) & (expected >= 0) & (expected == windows[:, 1:])

    def draw(n: int, *, rng: Generator, seed: int, split: str) -> Batch:
        return text.scored(n, length, scored, rng=rng, split=split)

    def pairs(m: int, rng: Generator) -> tuple[Tensor, ...]:
        windows = text.windows(64 * m, length + 1, rng=rng, split="test")
        windows = windows[scored(windows)[:, -1]]
        clean, answer = windows[:, :-1], windows[:, -1]
        line = line_at(clean)[:, -1:]
        own = (clean.gather(1, line) == lines).long().argmax(1)
        other = lines[(own + torch.randint(1, len(lines), (len(clean),), generator=rng)) % len(lines)]
        return clean, clean.scatter(1, line, other[:, None]), answer, deeper[other]

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        clean, corrupt, answer, wrong = fill(n, lambda m: pairs(m, rng), what="python_indentation")
        return Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=wrong)

    def required(tokens: Int[Tensor, "prompt pos"]) -> Bool[Tensor, "prompt query key"]:
        """The line break before the line with the colon."""
        return (line_at(tokens)[..., None] == torch.arange(tokens.shape[1])) & (tokens == colon)[..., None]

    return Task(
        name="python_indentation",
        params={"length": length, **text.params},
        vocab=vocab,
        n_ctx=length,
        chance=1 / len(lines),
        prompts=prompts,
        **drawn(draw, what="python_indentation", n_sample=N_WINDOWS),
        structure=Structure(required=required),
    )


def _widths(vocab: Sequence[str]) -> Int[Tensor, "vocab"]:
    """How many spaces each line break has behind it; -1 for other tokens."""
    return torch.tensor([len(word) - 1 if word == "Ċ" + "Ġ" * (len(word) - 1) else -1 for word in vocab])


def _deeper(vocab: Sequence[str]) -> Int[Tensor, "vocab"]:
    """For each line break the one with four spaces more; -1 for other tokens, and where that is no token."""
    index = {word: token for token, word in enumerate(vocab)}
    return torch.tensor([index.get(word + "Ġ" * 4, -1) if word.startswith("Ċ") else -1 for word in vocab])


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: from the text of the last line."""
    if words[-1] != ":" or not any(word.startswith("Ċ") for word in words):
        return set()
    line = "".join(words).rpartition("Ċ")[2]
    return {"Ċ" + "Ġ" * (len(line) - len(line.lstrip("Ġ")) + 4)}
