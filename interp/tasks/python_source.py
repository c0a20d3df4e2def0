"""The next token of Python source code: real text, from the packages that are installed anyway (`interp/tasks/_corpus.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from interp.tasks._corpus import END, HELD_OUT, TRAIN, corpus, sources, tokenizer
from interp.tasks._splits import drawn, fill
from interp.types import Batch, Prompts, Task

if TYPE_CHECKING:
    from torch import Generator, Tensor

N_WINDOWS = 64
"""Windows in a split: as many logits as a pass over it gives take 64 MB, in double precision."""

TRIED: tuple[dict[str, Any], ...] = (
    {"length": 24, "vocab_size": 320, "train": ["click"], "held_out": ["requests"]},
    {"length": 16, "vocab_size": 400, "train": ["requests", "anyio"], "held_out": ["urllib3"]},
)
"""Parameters that the tests try."""


def python_source(
    *,
    length: int = 128,
    vocab_size: int = 1024,
    train: Sequence[str] = TRAIN,
    held_out: Sequence[str] = HELD_OUT,
) -> Task:
    """Windows of `length` tokens from anywhere in the sources of the packages `train`; tested on those of `held_out`, of
    which no file was learned from. Every position predicts the next token.

    The corrupt prompt is another window, which goes on differently. Chance is 1 / vocab_size.
    """
    text = corpus("python_source", train, held_out, vocab_size, length)

    def draw(n: int, *, rng: Generator, seed: int, split: str) -> Batch:
        windows = text.windows(n, length + 1, rng=rng, split=split)
        return Batch(tokens=windows[:, :-1].contiguous(), targets=windows[:, 1:].contiguous())

    def pairs(n: int, rng: Generator) -> tuple[Tensor, ...]:
        clean, corrupt = (text.windows(n, length + 1, rng=rng, split="test") for _ in "ab")
        columns = (clean[:, :-1], corrupt[:, :-1], clean[:, -1], corrupt[:, -1])
        return tuple(column[clean[:, -1] != corrupt[:, -1]] for column in columns)

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        clean, corrupt, answer, wrong = fill(n, lambda m: pairs(m, rng), what="python_source")
        return Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=wrong)

    return Task(
        name="python_source",
        params={"length": length, **text.params},
        vocab=text.vocab,
        n_ctx=length,
        chance=1 / vocab_size,
        prompts=prompts,
        **drawn(draw, what="python_source", n_sample=N_WINDOWS),
    )


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that follow these anywhere, the files encoded by the tokenizer itself."""
    every = _written_out(tuple(params["train"]), tuple(params["held_out"]), params["vocab_size"])
    wanted, found, at = "\n" + "\n".join(words) + "\n", set[str](), -1
    while (at := every.find(wanted, at + 1)) >= 0:
        end = at + len(wanted)
        found.add(every[end : every.find("\n", end)])
    return found


@lru_cache(maxsize=4)
def _written_out(train: tuple[str, ...], held_out: tuple[str, ...], vocab_size: int) -> str:
    """Every file's tokens, a line each."""
    learned = tokenizer(train, vocab_size)
    files = (text for packages in (train, held_out) for package in packages for text in sources(package))
    return "\n".join(["", *(word for text in files for word in (END, *learned.encode(text).tokens)), ""])
