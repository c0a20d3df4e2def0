"""Column arithmetic: two numbers of n digits, one character a token, an answer of several digits.

What the columns of addition and subtraction share: a digit pair *makes* a carry (borrow) or *passes on* the one that
    comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from string import ascii_lowercase, digits
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks import _check
from interp.tasks._positions import fixed
from interp.tasks._splits import drawn, enumerated, fill, held_out, sequences, share_held_out
from interp.types import Batch, Prompts, Structure, Task, TextForm, Texts

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Generator, Tensor

SYMBOLS = digits + ascii_lowercase
ENUMERABLE = 20_000
"""A task with at most so many questions lists them all."""

ORDERS = ("plain", "reversed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What tells addition and subtraction apart. Operands a and b are Int[prompt] throughout.

    calculate: the answer's value, of `answer_len` digits.
    pairs: random operands, `pairs(n, rng)`. all_pairs: every pair of operands, in the same proportions.
    legal: whether (a, b) is a question.
    key: what the split hashes: questions that give each other away have the same key.
    labels: sub-tasks, from the digits of the operands by place (units first), as Bool[prompt, answer place].
    """

    name: str
    sign: str
    params: Mapping[str, Any]
    chance: float
    answer_len: int
    calculate: Callable[[Tensor, Tensor], Tensor]
    pairs: Callable[[int, Generator], tuple[Tensor, Tensor]]
    all_pairs: Callable[[], tuple[Tensor, Tensor]]
    legal: Callable[[Tensor, Tensor], Tensor]
    key: Callable[[Tensor, Tensor], Tensor]
    labels: Callable[[Tensor, Tensor], Mapping[str, Tensor]]

    @property
    def n_digits(self) -> int:
        return self.params["n_digits"]

    @property
    def base(self) -> int:
        return self.params["base"]


def check(name: str, *, n_digits: int, base: int, order: str, test_fraction: float) -> dict[str, Any]:
    """The parameters that column arithmetic shares, checked; operands stay below 2^60 so that nothing overflows."""
    _check.whole(name, "base", base, low=2, high=len(SYMBOLS))
    _check.whole(name, "n_digits", n_digits, low=1)
    _check.whole(name, f"n_digits (numbers below {base}^n_digits ≤ 2^60)", base**n_digits, low=1, high=2**60)
    _check.one_of(name, "order", order, ORDERS)
    _check.fraction(name, "test_fraction", test_fraction)
    return {"n_digits": n_digits, "base": base, "order": order, "test_fraction": test_fraction}


def task(op: Operation) -> Task:
    """The task of an operation: characters "a + b =", then the answer's digits in the order that `order` says."""
    if _is_listed(op):
        a, b = op.all_pairs()
        parts = enumerated(sequences(question(op, a, b), answer(op, a, b)), partial(_listed_test, op))
    else:
        parts = drawn(partial(draw, op), what=op.name)
    return Task(
        name=op.name,
        params=op.params,
        vocab=(*SYMBOLS[: op.base], op.sign, "="),
        n_ctx=2 * op.n_digits + 1 + op.answer_len,
        chance=op.chance,
        answer_len=op.answer_len,
        prompts=partial(prompts, op),
        **parts,
        structure=Structure(
            labels=partial(labels, op), digit_prompts=partial(digit_prompts, op), required=partial(required, op)
        ),
        text=TextForm(texts=partial(texts, op)),
    )


def to_digits(number: Int[Tensor, "*shape"], n_digits: int, base: int) -> Int[Tensor, "*shape place"]:
    """Digits by place, units first."""
    return number[..., None] // base ** torch.arange(n_digits) % base


def question(op: Operation, a: Tensor, b: Tensor) -> Int[Tensor, "prompt pos"]:
    """The tokens of "a + b =", operands written with the units last."""
    one = torch.ones_like(a)[:, None]
    written = [to_digits(number, op.n_digits, op.base).flip(-1) for number in (a, b)]
    return torch.cat([written[0], op.base * one, written[1], (op.base + 1) * one], dim=1)


def answer(op: Operation, a: Tensor, b: Tensor) -> Int[Tensor, "*shape answer_len"]:
    """The answer's digits in the order in which they are written."""
    return _written_order(op, to_digits(op.calculate(a, b), op.answer_len, op.base))


def draw(op: Operation, n: int, *, rng: Generator, seed: int, split: str) -> Batch:
    """n questions of one side of the split, with their answers."""
    a, b = _questions(op, n, rng, seed, split)
    return sequences(question(op, a, b), answer(op, a, b))


def prompts(op: Operation, n: int, *, rng: Generator, seed: int = 0) -> Prompts:
    """Questions whose corrupt twin has one other digit, and an answer with another first digit."""
    a, b, a2, b2 = _contrasts(op, n, 0, rng, seed, "test")
    right, wrong = answer(op, a, b), answer(op, a2, b2)
    if op.answer_len == 1:
        right, wrong = right[:, 0], wrong[:, 0]
    return Prompts(clean=question(op, a, b), corrupt=question(op, a2, b2), answer=right, wrong=wrong)


def digit_prompts(op: Operation, n: int, *, digit: int, rng: Generator, seed: int = 0) -> Prompts:
    """Prompts for one answer token, after the earlier ones, which are the same in the clean and the corrupt prompt."""
    _check.whole(op.name, "digit", digit, low=0, high=op.answer_len - 1)
    a, b, a2, b2 = _contrasts(op, n, digit, rng, seed, "test")
    right, wrong = answer(op, a, b), answer(op, a2, b2)
    given = right[:, :digit]
    return Prompts(
        clean=torch.cat([question(op, a, b), given], dim=1),
        corrupt=torch.cat([question(op, a2, b2), given], dim=1),
        answer=right[:, digit],
        wrong=wrong[:, digit],
    )


def texts(op: Operation, n: int, *, rng: Generator, seed: int = 0, split: str = "test") -> Texts:
    """The prompts as people write them: decimal numbers without leading zeros, "48+76=" and "124"."""
    a, b, a2, b2 = _contrasts(op, n, 0, rng, seed, split)
    asked = [[f"{x}{op.sign}{y}=" for x, y in zip(*pair, strict=True)] for pair in _lists((a, b), (a2, b2))]
    replies = [[str(value) for value in values.tolist()] for values in (op.calculate(a, b), op.calculate(a2, b2))]
    return Texts(clean=tuple(asked[0]), corrupt=tuple(asked[1]), answer=tuple(replies[0]), wrong=tuple(replies[1]))


def labels(op: Operation, tokens: Int[Tensor, "prompt pos"]) -> dict[str, Bool[Tensor, "prompt answer_len"]]:
    """Which sub-tasks each answer digit of these questions takes, in the order in which the digits are written."""
    first = tokens[:, : op.n_digits].flip(-1)
    second = tokens[:, op.n_digits + 1 : 2 * op.n_digits + 1].flip(-1)
    return {name: _written_order(op, value) for name, value in op.labels(first, second).items()}


def required(op: Operation, tokens: Int[Tensor, "prompt pos"]) -> Bool[Tensor, "prompt query key"]:
    """For every position that predicts an answer digit: the operands' digits of its place, and of all lower places."""

    def needed(written: int) -> list[int]:
        place = op.answer_len - 1 - written if op.params["order"] == "plain" else written
        first = max(op.n_digits - 1 - place, 0)
        return [at + offset for at in range(first, op.n_digits) for offset in (0, op.n_digits + 1)]

    return fixed(tokens, ((2 * op.n_digits + 1 + written, needed(written)) for written in range(op.answer_len)))


def carries(
    makes: Bool[Tensor, "prompt place"], passes: Bool[Tensor, "prompt place"]
) -> tuple[Bool[Tensor, "prompt place_above"], Bool[Tensor, "prompt place_above"]]:
    """Which places receive a carry that the next lower place made, and which one that it passed on (a cascade).

    Returns places 0 … n, one more than given, units first.
    """
    made, cascaded = [torch.zeros_like(makes[:, 0])], [torch.zeros_like(makes[:, 0])]
    for make, passing in zip(makes.unbind(1), passes.unbind(1), strict=True):
        cascaded.append(passing & (made[-1] | cascaded[-1]))
        made.append(make)
    return torch.stack(made, dim=1), torch.stack(cascaded, dim=1)


def _written_order(op: Operation, by_place: Tensor) -> Tensor:
    return by_place.flip(-1) if op.params["order"] == "plain" else by_place


def _is_listed(op: Operation) -> bool:
    return (op.base**op.n_digits) ** 2 <= ENUMERABLE


def _listed_test(op: Operation, seed: int) -> Bool[Tensor, "pair"]:
    """Which of all pairs are for testing."""
    return share_held_out(op.key(*op.all_pairs()), seed=seed, fraction=op.params["test_fraction"])


def _questions(op: Operation, n: int, rng: Generator, seed: int, split: str) -> tuple[Tensor, ...]:
    """Random pairs of operands from one side of the split."""
    if _is_listed(op):
        rows = (_listed_test(op, seed) == (split == "test")).nonzero()[:, 0]
        chosen = rows[torch.randint(len(rows), (n,), generator=rng)]
        return tuple(operand[chosen] for operand in op.all_pairs())

    def fit(m: int) -> tuple[Tensor, ...]:
        a, b = op.pairs(m, rng)
        keep = held_out(op.key(a, b), seed=seed, fraction=op.params["test_fraction"]) == (split == "test")
        return a[keep], b[keep]

    return fill(n, fit, what=op.name)


def _contrasts(op: Operation, n: int, digit: int, rng: Generator, seed: int, split: str) -> tuple[Tensor, ...]:
    """Operands (a, b) of the split and (a', b') with one other digit, whose answers differ first at token `digit`."""

    def fit(m: int) -> tuple[Tensor, ...]:
        a, b = _questions(op, m, rng, seed, split)
        a2, b2 = _one_digit_away(op, a, b)
        differs = answer(op, a2, b2) != answer(op, a, b)[:, None]
        good = op.legal(a2, b2) & differs[..., digit] & ~differs[..., :digit].any(-1)
        choice = torch.rand(good.shape, generator=rng).where(good, -1.0).argmax(1, keepdim=True)
        found = good.any(1)
        return tuple(x[found] for x in (a, b, a2.gather(1, choice)[:, 0], b2.gather(1, choice)[:, 0]))

    return fill(n, fit, what=op.name)


def _one_digit_away(
    op: Operation, a: Int[Tensor, "prompt"], b: Int[Tensor, "prompt"]
) -> tuple[Int[Tensor, "prompt change"], Int[Tensor, "prompt change"]]:
    """Every pair of operands with one other digit, in a or in b."""
    value = op.base ** torch.arange(op.n_digits)
    step = torch.arange(1, op.base)[:, None]

    def changed(number: Int[Tensor, "prompt"]) -> Int[Tensor, "prompt change"]:
        digit = to_digits(number, op.n_digits, op.base)[:, None]
        return (number[:, None, None] + ((digit + step) % op.base - digit) * value).flatten(1)

    a2, b2 = changed(a), changed(b)
    return torch.cat([a2, a[:, None].expand_as(b2)], dim=1), torch.cat([b[:, None].expand_as(a2), b2], dim=1)


def _lists(*pairs: tuple[Tensor, Tensor]) -> list[tuple[list[int], list[int]]]:
    return [(a.tolist(), b.tolist()) for a, b in pairs]


def by_hand(words: Sequence[str], sign: str, params: Mapping[str, Any]) -> set[str]:
    """By brute force: the next digit of "a + b =" and what is written of its answer."""
    base = params["base"]
    question, _, given = "".join(words).partition("=")
    a, b = (int(number, base) for number in question.split(sign))
    value, n_places = (a + b, params["n_digits"] + 1) if sign == "+" else (a - b, params["n_digits"])
    places = [SYMBOLS[value // base**place % base] for place in range(n_places)]
    return {(places if params["order"] == "reversed" else places[::-1])[len(given)]}
