"""Arithmetic in words, as GPT-3 was asked: "Q: What is 48 plus 76? A:" → " 124".

Brown et al. 2020 (arXiv 2005.14165, §3.9.1): 1 to 5 digits, addition, subtraction (answers may be negative),
multiplication, and one-digit composites such as 6+(4*8). The jump of addition over model size is figure 1 of Ganguli
et al. 2022 (arXiv 2202.07785).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks import _check
from interp.tasks._splits import fill, held_out
from interp.tasks._text import text_task
from interp.tasks._tokenizer import CharTokenizer
from interp.types import Example, Protocol, Task, TextForm, Texts

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Generator, Tensor

WORDS = {"+": "plus", "-": "minus", "*": "times"}
OPERATIONS = (*WORDS, "composite")
SIGNS = "+-*"
ALPHABET = "0123456789+-*()?:QA \nWhatisplumne"

TRIED: tuple[dict[str, Any], ...] = (
    {"operation": "+", "n_digits": 2, "shots": 0},
    {"operation": "-", "n_digits": 3, "shots": 1},
    {"operation": "*", "n_digits": 2, "shots": 2},
    {"operation": "composite", "n_digits": 1, "shots": 1},
)
"""Parameters that the tests try."""


def gpt3_arithmetic(*, operation: str = "+", n_digits: int = 2, shots: int = 0, test_fraction: float = 0.2) -> Task:
    """Numbers uniform over 0 … 10^n_digits − 1, written without leading zeros.

    Args:
        operation: "+", "-", "*" or "composite" (three one-digit numbers, two operations drawn from + − *: 6+(4*8)).
        shots: how many answered questions come before, from the training split, one paragraph each.
        test_fraction: share of the questions that are kept for testing.

    The corrupt prompt has one other number, with as many digits, and another answer. The task's own vocabulary is
    characters; `text.texts` and `text.questions(n, rng=)` serve pretrained tokenizers. Chance is that of the
    commonest answer.
    """
    name = "gpt3_arithmetic"
    _check.one_of(name, "operation", operation, OPERATIONS)
    _check.whole(name, "n_digits", n_digits, low=1, high=1 if operation == "composite" else 9)
    _check.whole(name, "shots", shots, low=0)
    _check.fraction(name, "test_fraction", test_fraction)
    skill = _Questions(operation=operation, n_digits=n_digits, shots=shots, test_fraction=test_fraction)
    longest = len(_written(torch.tensor([[10**n_digits - 1] * skill.n_numbers + [0, 0]]), operation)[0])
    longest += 2 + (2 * n_digits if operation == "*" else n_digits + 1)  # the space, and a sign or the largest value
    return text_task(
        name=name,
        params={"operation": operation, "n_digits": n_digits, "shots": shots, "test_fraction": test_fraction},
        chance=_chance(operation, 10**n_digits),
        tokenizer=CharTokenizer(ALPHABET),
        end="\n",
        text=TextForm(
            texts=skill.texts,
            questions=skill.examples,
            max_bytes=(shots + 1) * longest + 2 * shots,
            protocol=Protocol(stop=("\n",), max_new_tokens=16),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Questions:
    """Questions of one kind. What is drawn is two or three numbers, and two operations as indices into SIGNS, which a
    single operation does not use."""

    operation: str
    n_digits: int
    shots: int
    test_fraction: float

    @property
    def n_numbers(self) -> int:
        return 3 if self.operation == "composite" else 2

    def draw(self, m: int, rng: Generator) -> Int[Tensor, "question part"]:
        numbers = torch.randint(10**self.n_digits, (m, self.n_numbers), generator=rng)
        return torch.cat([numbers, torch.randint(len(SIGNS), (m, 2), generator=rng)], dim=1)

    def key(self, drawn: Int[Tensor, "question part"]) -> Int[Tensor, "question part"]:
        """What makes a question another one."""
        return drawn if self.operation == "composite" else drawn[:, : self.n_numbers]

    def pairs(self, n: int, rng: Generator, seed: int, split: str) -> tuple[Tensor, ...]:
        """Questions of one side of the split, each with a twin that has one other number and another answer."""

        def fit(m: int) -> tuple[Tensor, ...]:
            clean = self.draw(m, rng)
            place = torch.randint(self.n_numbers, (m, 1), generator=rng)
            corrupt = clean.scatter(1, place, _same_length(clean.gather(1, place), rng))
            keep = held_out(self.key(clean), seed=seed, fraction=self.test_fraction) == (split == "test")
            keep &= _answers(clean, self.operation) != _answers(corrupt, self.operation)
            return clean[keep], corrupt[keep]

        return fill(n, fit, what="gpt3_arithmetic")

    def texts(self, n: int, *, rng: Generator, seed: int = 0, split: str = "test") -> Texts:
        clean, corrupt = self.pairs(n, rng, seed, split)
        before = self.pairs(n * self.shots, rng, seed, "train")[0]
        shown = _written(before, self.operation), _replies(before, self.operation)
        solved = [f"{asked}{reply}\n\n" for asked, reply in zip(*shown, strict=True)]
        heads = ["".join(solved[i * self.shots : (i + 1) * self.shots]) for i in range(n)]

        def asked(drawn: Tensor) -> tuple[str, ...]:
            return tuple(head + text for head, text in zip(heads, _written(drawn, self.operation), strict=True))

        answer, wrong = (tuple(_replies(drawn, self.operation)) for drawn in (clean, corrupt))
        return Texts(clean=asked(clean), corrupt=asked(corrupt), answer=answer, wrong=wrong)

    def examples(self, n: int, *, rng: Generator, seed: int = 0) -> tuple[Example, ...]:
        drawn = self.texts(n, rng=rng, seed=seed)
        asked = zip(drawn.clean, drawn.answer, strict=True)
        return tuple(Example(prompt=prompt, targets=(answer,)) for prompt, answer in asked)


def _same_length(numbers: Int[Tensor, "question 1"], rng: Generator) -> Int[Tensor, "question 1"]:
    """Random numbers with as many digits."""
    lengths = torch.tensor([[len(str(number))] for number in numbers[:, 0].tolist()])
    low = torch.where(lengths == 1, 0, 10 ** (lengths - 1))
    return low + (torch.rand(lengths.shape, generator=rng, dtype=torch.float64) * (10**lengths - low)).long()


def _answers(drawn: Int[Tensor, "question part"], operation: str) -> Int[Tensor, "question"]:
    if operation != "composite":
        return _apply(drawn[:, 0], torch.full_like(drawn[:, 0], SIGNS.index(operation)), drawn[:, 1])
    a, b, c, first, second = drawn.unbind(1)
    return _apply(a, first, _apply(b, second, c))


def _apply(a: Tensor, sign: Tensor, b: Tensor) -> Tensor:
    return torch.stack([a + b, a - b, a * b], dim=1).gather(1, sign[:, None])[:, 0]


def _written(drawn: Int[Tensor, "question part"], operation: str) -> list[str]:
    if operation == "composite":
        asked = [f"{a}{SIGNS[first]}({b}{SIGNS[second]}{c})" for a, b, c, first, second in drawn.tolist()]
    else:
        asked = [f"{row[0]} {WORDS[operation]} {row[1]}" for row in drawn.tolist()]
    return [f"Q: What is {text}?\nA:" for text in asked]


def _replies(drawn: Int[Tensor, "question part"], operation: str) -> list[str]:
    return [f" {answer}" for answer in _answers(drawn, operation).tolist()]


def _chance(operation: str, n: int) -> float:
    """The share of the commonest answer: n − 1 of the sums, 0 of the differences and of the products; composites are
    counted."""
    if operation == "composite":
        parts = torch.cartesian_prod(*[torch.arange(n)] * 3, *[torch.arange(len(SIGNS))] * 2)
        return float(_answers(parts, operation).unique(return_counts=True)[1].max()) / len(parts)
    return (2 * n - 1) / n**2 if operation == "*" else 1 / n


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    question = "".join(words).split("\n\n")[-1]
    asked, _, given = question.removeprefix("Q: What is ").partition("?\nA:")
    for name, sign in (("plus", "+"), ("minus", "-"), ("times", "*")):
        asked = asked.replace(f" {name} ", sign)
    values = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
    head, inner = re.fullmatch(r"(\d+[-+*])?\(?(\d+[-+*]\d+)\)?", asked).groups()  # type: ignore[union-attr]
    a, sign, b = re.split(r"([-+*])", inner)
    value = values[sign](int(a), int(b))
    if head:
        value = values[head[-1]](int(head[:-1]), value)
    return {f" {value}\n"[len(given)]}
