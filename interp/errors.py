"""Errors for people: what was expected, what came, and the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Wrong input from outside (a name, a file, a value). The command line prints it as one line and exits with 2."""


class NoSuchKey(InputError, KeyError):
    """A key that a mapping does not have: a KeyError too, so that `in` and `.get` are those of any mapping."""

    __str__ = InputError.__str__  # a KeyError shows its message in quotes


class Damaged(InputError):
    """A file that is not what was written. The command line prints it as one line and exits with 1."""


def nearest(name: object, choices: Iterable[object], *, limit: int = 12) -> str:
    """A clause to end an error message with: `; did you mean 'z'?` or `; expected one of a, b, c`."""
    names = [str(choice) for choice in choices]
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    if not names:
        return ""
    shown = ", ".join(sorted(names)[:limit]) + (", …" if len(names) > limit else "")
    return f"; expected one of {shown}"


def unknown(kind: str, name: object, choices: Iterable[object]) -> InputError:
    """The error for a name that is not among the valid ones: `unknown task 'adition'; did you mean 'addition'?`"""
    return InputError(f"unknown {kind} {str(name)!r}{nearest(name, choices)}")
