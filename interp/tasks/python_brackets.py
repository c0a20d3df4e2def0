"""Brackets that close, in Python source code: which of ), ] and } comes, by the bracket that is still open.

As `dyck`, in real text: held-out windows, scored where a bracket closes that opened in the same window.
"""

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

PAIRS = ("()", "[]", "{}")
N_WINDOWS = 64
"""Windows in a split."""

TRIED: tuple[dict[str, Any], ...] = (
    {"length": 24, "vocab_size": 320, "train": ["click"], "held_out": ["requests"]},
    {"length": 48, "vocab_size": 400, "train": ["requests", "anyio"], "held_out": ["urllib3"]},
)
"""Parameters that the tests try."""


def python_brackets(
    *, length: int = 128, vocab_size: int = 1024, train: Sequence[str] = TRAIN, held_out: Sequence[str] = HELD_OUT
) -> Task:
    """Windows of `python_source`, scored where the next token closes the innermost bracket that is open in the window (a
    bracket that does not fit, in a string say, forgets all that are open).

    Prompts are windows before such a bracket; the corrupt one has another kind of bracket where that pair opens, and
    nothing else changed. The right answer is what the file has; that a bracket closes there at all is not settled, its
    kind is: `wrong` is the one that closes the corrupt prompt's. Chance is 1/3.
    """
    text = corpus("python_brackets", train, held_out, vocab_size, length)
    vocab = text.vocab
    opens, closes = (torch.tensor([vocab.index(pair[side]) for pair in PAIRS]) for side in (0, 1))

    def open_at(tokens: Int[Tensor, "prompt pos"]) -> Int[Tensor, "prompt pos"]:
        """Where the innermost bracket that is open after each position was opened; -1 where none is."""
        which = torch.arange(1, len(PAIRS) + 1)
        signed = ((tokens[..., None] == opens).long() - (tokens[..., None] == closes).long()) @ which
        return torch.tensor([_stack(row) for row in signed.tolist()])

    def closing(windows: Int[Tensor, "prompt pos"]) -> Bool[Tensor, "prompt pos"]:
        """Of windows of length + 1: whether the next token closes the bracket that is open after each position."""
        opener = open_at(windows[:, :-1])
        fitting = closes[_kind(windows.gather(1, opener.clamp(min=0)), opens)]
        return (opener >= 0) & (fitting == windows[:, 1:])

    def draw(n: int, *, rng: Generator, seed: int, split: str) -> Batch:
        return text.scored(n, length, closing, rng=rng, split=split)

    def pairs(m: int, rng: Generator) -> tuple[Tensor, ...]:
        windows = text.windows(16 * m, length + 1, rng=rng, split="test")
        windows = windows[closing(windows)[:, -1]]
        clean, answer = windows[:, :-1], windows[:, -1]
        other = (_kind(answer, closes) + torch.randint(1, 3, (len(answer),), generator=rng)) % 3
        corrupt = clean.scatter(1, open_at(clean)[:, -1:], opens[other, None])
        return clean, corrupt, answer, closes[other]

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        clean, corrupt, answer, wrong = fill(n, lambda m: pairs(m, rng), what="python_brackets")
        return Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=wrong)

    def required(tokens: Int[Tensor, "prompt pos"]) -> Bool[Tensor, "prompt query key"]:
        """The bracket that is open."""
        return open_at(tokens)[..., None] == torch.arange(tokens.shape[1])

    return Task(
        name="python_brackets",
        params={"length": length, **text.params},
        vocab=vocab,
        n_ctx=length,
        chance=1 / 3,
        prompts=prompts,
        **drawn(draw, what="python_brackets", n_sample=N_WINDOWS),
        structure=Structure(required=required),
    )


def _kind(tokens: Int[Tensor, "*shape"], of: Int[Tensor, "kind"]) -> Int[Tensor, "*shape"]:
    """Which of three tokens each is; 0 where it is none of them."""
    return (tokens[..., None] == of).long().argmax(-1)


def _stack(kinds: Sequence[int]) -> list[int]:
    """After each position, where the innermost open bracket was opened. kinds: k opens, −k closes, 0 is something else."""
    stack: list[int] = []
    innermost = []
    for at, kind in enumerate(kinds):
        if kind > 0:
            stack.append(at)
        elif kind < 0 and stack and kinds[stack[-1]] == -kind:
            stack.pop()
        elif kind < 0:
            stack.clear()
        innermost.append(stack[-1] if stack else -1)
    return innermost


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: pairs with nothing between them are taken out until none is left."""
    left = "".join(word for word in words if word in "()[]{}")
    while (shorter := left.replace("()", "").replace("[]", "").replace("{}", "")) != left:
        left = shorter
    return {{"(": ")", "[": "]", "{": "}"}[left[-1]]} if left and left[-1] in "([{" else set()
