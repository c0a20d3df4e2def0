"""Tasks whose examples are listed in a file: how they are dealt, paired and turned into text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError
from interp.seeds import generator
from interp.tasks._text import text_task
from interp.tasks._tokenizer import CharTokenizer
from interp.types import Example, Protocol, Task, TextForm, Texts

if TYPE_CHECKING:
    from torch import Generator


def examples_task(
    *,
    name: str,
    params: Mapping[str, Any],
    examples: Sequence[Example],
    train_fraction: float,
    protocol: Protocol,
    metrics: tuple[str, ...] = (),
    title: str = "",
) -> Task:
    """A task of listed examples, its own vocabulary their characters.

    All of them are for testing, except the share that `train_fraction` sets aside for learning. The corrupt prompt is
    another example's, one whose answer is `wrong` where there is one, cut or filled up to the same length; `wrong` is
    a worse option or, for free answers, another example's answer, and empty where there is neither. Chance is what a
    uniform choice among the options scores, or the share of the commonest answer.
    """
    if isinstance(train_fraction, str) or not 0 <= train_fraction < 1:
        raise InputError(f"{name}: train_fraction is a number from 0 to below 1, not {train_fraction!r}")
    end = protocol.stop[0] if protocol.stop else "\n"
    spoken = {char for e in examples for text in (e.prompt, *e.targets, *e.options) for char in text}
    n_train = round(train_fraction * len(examples))
    by_answer: dict[str, list[Example]] = {}
    for example in examples:
        if example.targets or example.options:
            by_answer.setdefault(best_answer(example), []).append(example)

    @lru_cache(maxsize=4)
    def dealt(seed: int) -> dict[str, list[int]]:
        order = torch.randperm(len(examples), generator=generator(seed, "split")).tolist()
        return {"train": order[:n_train], "test": order[n_train:]}

    def texts(n: int, *, rng: Generator, seed: int = 0, split: str = "test") -> Texts:
        chosen = [examples[index] for index in dealt(seed)[split]]
        rounds = [torch.randperm(len(chosen), generator=rng).tolist() for _ in range(-(-n // max(len(chosen), 1)))]
        rows = [_pair(chosen[i], examples, by_answer, rng) for order in rounds for i in order][:n]
        columns = zip(*rows, strict=True) if rows else ((),) * 4
        return Texts(**dict(zip(("clean", "corrupt", "answer", "wrong"), map(tuple, columns), strict=True)))

    longest = max(len((e.prompt + reply).encode()) for e in examples for reply in (*e.targets, *e.options, ""))
    return text_task(
        name=name,
        params=params,
        chance=_chance(examples),
        tokenizer=CharTokenizer("".join(sorted(spoken | set(end)))),
        end=end,
        text=TextForm(
            texts=texts,
            misaligned="fit",
            max_bytes=longest,
            examples=tuple(examples),
            protocol=protocol,
            metrics=metrics,
            title=title,
        ),
    )


def best_answer(example: Example) -> str:
    """The first accepted answer, or the option with the highest score; "" of an open question."""
    if example.targets:
        return example.targets[0]
    options = zip(example.options, example.scores, strict=True)
    return max(options, key=lambda option: option[1], default=("", 0.0))[0]


def _worse_options(example: Example) -> list[str]:
    top = max(example.scores)
    return [option for option, score in zip(example.options, example.scores, strict=True) if score < top]


def _pair(
    example: Example, examples: Sequence[Example], by_answer: Mapping[str, Sequence[Example]], rng: Generator
) -> tuple[str, str, str, str]:
    """Clean and corrupt prompt, right and wrong answer."""

    def pick(items: Sequence[Any]) -> Any:
        return items[int(torch.randint(len(items), (), generator=rng))]

    elsewhere = [answer for answer in by_answer if answer not in example.targets] if example.targets else []
    answers = _worse_options(example) if example.options else elsewhere
    wrong = pick(answers) if answers else ""

    def differing(items: Sequence[Example]) -> str | None:
        """The prompt of a random one that asks something else: tried a few times before all are looked through."""
        for _ in range(8 if items else 0):
            other = pick(items).prompt
            if other != example.prompt:
                return other
        rest = [other.prompt for other in items if other.prompt != example.prompt]
        return pick(rest) if rest else None

    corrupt = differing(by_answer.get(wrong, ())) or differing(examples) or example.prompt[::-1]
    return example.prompt, corrupt, best_answer(example), wrong


def _chance(examples: Sequence[Example]) -> float:
    chosen = [sum(e.scores) / len(e.scores) for e in examples if e.options]
    free = Counter(answer for e in examples if not e.options for answer in set(e.targets))
    commonest = max(free.values(), default=0)
    return (sum(chosen) + commonest) / len(examples)
