"""Numbers, lines and small tables for a reader: what a result prints of itself, in a terminal and in a notebook."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

MOST_ROWS = 12
"""Rows of a table in a notebook's cell before the rest is counted: a choice, about a third of a screen."""


def short(value: float) -> str:
    """A count for a tick: 500, 2k, 1.5M."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def number(value: Any, digits: int = 3, thousands: str = "\u202f") -> str:
    """A number for a reader: `–` where undefined or infinite, `digits` significant digits, `thousands` between them."""
    if value is None or value != value:
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    value = float(value)
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", thousands)
    if value == int(value):
        return str(int(value))
    return f"{value:.{digits}g}"


def cell(value: Any, thousands: str = "\u202f") -> str:
    """A value of a table: a number as `number` has it, everything else as it says itself."""
    is_number = value is None or isinstance(value, (bool, int, float, np.number, np.bool_))
    return number(value, thousands=thousands) if is_number else str(value)


def bare(value: Any) -> str:
    """A value of a table in a terminal, from where it is copied: no separators within numbers."""
    return cell(value, thousands="")


def percent(value: float | None) -> str:
    """A fraction as a percentage: `–` where undefined."""
    if value is None or value != value:
        return "–"
    shown = 100 * value
    return f"{shown:.1f} %" if 0 < abs(shown) < 10 and abs(shown - round(shown)) > 0.05 else f"{shown:.0f} %"


def is_share(measure: str) -> bool:
    """Whether a measure is a share of examples, shown in per cent."""
    return measure in {"exact", "exact_match", "exact_match_under", "acc", "acc_norm", "top1"} or measure.endswith(
        "accuracy"
    )


def pretty(name: str) -> str:
    """A measure's name as running text."""
    return name.replace("_", " ")


def told(title: str, *facts: str) -> str:
    """A result in a few lines: what it is, then a fact a line; empty ones are left out."""
    return "\n".join([title, *(f"  {fact}" for fact in facts if fact)])


def listed(names: Iterable[Any], most: int = 6) -> str:
    """Names with commas, at most so many: the rest is counted."""
    every = [str(name) for name in names]
    return ", ".join(every[:most]) + (f", … ({len(every)})" if len(every) > most else "")


def html(text: str, rows: Sequence[Mapping[Any, Any]] = (), *, most: int = MOST_ROWS) -> str:
    """A result in a notebook: its lines, and under them the first rows of its numbers."""
    title, *facts = text.split("\n")
    lines = [f"<b>{escape(title)}</b>", *(escape(fact.strip()) for fact in facts)]
    return "<div>" + "<br>".join(lines) + _html_table(rows, most) + "</div>"


def _html_table(rows: Sequence[Mapping[Any, Any]], most: int) -> str:
    if not rows:
        return ""
    names = list(rows[0])
    head = "".join(f"<th>{escape(str(name))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell(row[name]))}</td>" for name in names) + "</tr>" for row in rows[:most]
    )
    more = f"<p>and {len(rows) - most} more: <code>.to_pandas()</code> has all</p>" if len(rows) > most else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def in_columns(lines: Sequence[Sequence[str]], *, indent: str = "") -> list[str]:
    """Lines of cells as lines of text, every column as wide as its widest cell; columns of numbers stand to the right."""
    columns = range(len(lines[0])) if lines else ()
    widths = [max(len(line[k]) for line in lines) for k in columns]
    right = [all(_is_number(line[k]) for line in lines[1:]) for k in columns]
    return [
        (
            indent + "  ".join((c.rjust if r else c.ljust)(w) for c, w, r in zip(line, widths, right, strict=True))
        ).rstrip()
        for line in lines
    ]


def _is_number(text: str) -> bool:
    """Whether a cell is a number with its unit (`12 %`, `1.5 GB`) or says that there is none."""
    first = text.replace("\u202f", "").replace(",", "").partition(" ")[0]
    if first in ("", "-", "–"):
        return True
    try:
        return math.isfinite(float(first)) or True
    except ValueError:
        return False
