"""A sortable table of the page, column by column: how a row gives its text, and what it is sorted by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from interp.figures import style

MAX_ROWS = 500


Row = Any
"""A mapping, or a record of which every column says how it is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: how a row gives its text, and the value that it sorts by (numbers are right-aligned).

    note: what the heading means, shown on hover.
    wide: long text, broken over lines.
    """

    head: str
    text: Callable[[Row], str]
    sort: Callable[[Row], Any]
    note: str = ""
    numeric: bool = False
    wide: bool = False


def words(head: str, field: str | Callable[[Row], Any], note: str = "", *, wide: bool = False) -> Column:
    """A column of text. field: a key of the rows, or what gives it of a row."""
    read = _reading(field)
    return Column(
        head=head, note=note, text=lambda row: _word(read(row)), sort=lambda row: _word(read(row)).lower(), wide=wide
    )


def numbers(
    head: str,
    field: str | Callable[[Row], Any],
    note: str = "",
    show: Callable[[Any], str] = style.number,
    text: Callable[[Row], str] | None = None,
) -> Column:
    """A column of numbers. field: a key of the rows, or what gives it of a row. text: what stands there, else the number."""
    read = _reading(field)
    return Column(head=head, note=note, text=text or (lambda row: show(read(row))), sort=read, numeric=True)


def _reading(field: str | Callable[[Row], Any]) -> Callable[[Row], Any]:
    return (lambda row: row.get(field)) if isinstance(field, str) else field


def _word(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def html_table(
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    mark: Callable[[Row], bool] | None = None,
) -> str:
    """A sortable table; rows for which `mark` holds are set off in the accent. Beyond 500 rows the rest is counted,
    not shown."""
    head = "".join(
        f'<th class="{"n" if c.numeric else ""}" '
        f'title="{escape(c.note, quote=True)}"><button>{escape(c.head)}</button></th>'
        for c in columns
    )
    body = "".join(
        f"<tr{' class=mark' if mark and mark(row) else ''}>" + "".join(_cell(c, row) for c in columns) + "</tr>"
        for row in rows[:MAX_ROWS]
    )
    more = (
        f'<p class="note">… and {len(rows) - MAX_ROWS} more rows, in the table of the run.</p>'
        if len(rows) > MAX_ROWS
        else ""
    )
    table = f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>{more}'


def _cell(column: Column, row: Row) -> str:
    value = column.sort(row)
    key = "" if value is None or value != value else str(float(value) if column.numeric else value)
    look = "n" if column.numeric else "wide" if column.wide else ""
    return f'<td class="{look}" data-sort="{escape(key, quote=True)}">{escape(column.text(row))}</td>'
