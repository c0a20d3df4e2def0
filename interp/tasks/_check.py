"""Difficulty parameters are checked when a task is made, so that no sweep starts with a wrong one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import wraps
from typing import Any

from interp.errors import InputError, unknown
from interp.types import Task


def whole(task: str, name: str, value: Any, *, low: int, high: int | None = None) -> None:
    """`value` is a whole number in low … high."""
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= low and (high is None or value <= high)
    if not fits:
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{task}: {name} is a whole number {bounds}, not {value!r}")


def fraction(task: str, name: str, value: Any) -> None:
    """`value` is a number strictly between 0 and 1."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1:
        raise InputError(f"{task}: {name} is a number between 0 and 1, not {value!r}")


def positive(task: str, name: str, value: Any) -> None:
    """`value` is a number above 0."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise InputError(f"{task}: {name} is a number above 0, not {value!r}")


def one_of(task: str, name: str, value: Any, choices: Iterable[str]) -> None:
    """`value` is one of the names."""
    choices = tuple(choices)
    if value not in choices:
        raise unknown(f"{name} of {task}", value, choices)


def text(task: str, name: str, value: object) -> None:
    """Raises InputError unless `value` is a string."""
    if not isinstance(value, str):
        raise InputError(f"{task}: {name} is a text, not {value!r}")


SPLITS = ("train", "test")


def guarded(task: Task) -> Task:
    """The task, whose functions refuse numbers and seeds that ask for nothing: −3 prompts, half a seed, no such split."""
    name, text, structure = task.name, task.text, task.structure
    if text is not None:
        questions = None if text.questions is None else _drawing(name, text.questions)
        text = replace(text, texts=_drawing(name, text.texts), questions=questions)
    if structure.digit_prompts is not None:
        structure = replace(structure, digit_prompts=_drawing(name, structure.digit_prompts))
    if structure.subtask_prompts is not None:
        structure = replace(structure, subtask_prompts=_drawing(name, structure.subtask_prompts))
    return replace(
        task,
        prompts=_drawing(name, task.prompts),
        batch=_drawing(name, task.batch, whole_too=True),
        splits=_splitting(name, task.splits),
        text=text,
        structure=structure,
    )


def _drawing(name: str, draw: Callable[..., Any], *, whole_too: bool = False) -> Callable[..., Any]:
    """`draw(n, *, rng, seed=0, split="test", …)`, its arguments looked at first. whole_too: n may be None."""

    @wraps(draw)
    def checked(n: int | None, **how: Any) -> Any:
        if n is not None or not whole_too:
            asked, n = n, _index(n)
            if n is None or n < 1:
                more = " or None" if whole_too else ""
                raise InputError(f"{name}: ask for a whole number of at least 1{more}, not {asked!r}")
        if "seed" in how:
            how["seed"] = _seed(name, how["seed"])
        if "split" in how:
            one_of(name, "split", how["split"], SPLITS)
        return draw(n, **how)

    return checked


def _splitting(name: str, splits: Callable[[int], Any]) -> Callable[[int], Any]:
    @wraps(splits)
    def checked(seed: int) -> Any:
        return splits(_seed(name, seed))

    return checked


def _seed(name: str, value: Any) -> int:
    seed = _index(value)
    if seed is None:
        raise InputError(f"{name}: a seed is a whole number, not {value!r}")
    return seed


def _index(value: Any) -> int | None:
    """A whole number, whatever holds it; None for everything else."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
