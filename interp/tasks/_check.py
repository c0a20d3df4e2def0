"""Difficulty parameters are checked when a task is made, so that no sweep starts with a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from interp.errors import InputError, unknown


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
