"""A sortable table of the page, column by column: how a row gives its text, and what it is sorted by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from interp.figures import style

MAX_ROWS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: how a row gives its text, and the value that it sorts by (numbers are right-aligned).

    note: what the heading means, shown on hover.
    wide: long text, broken over lines.
    """

    head: str
    text: Callable[[Mapping[str, Any]], str]
    sort: Callable[[Mapping[str, Any]], Any]
    note: str = ""
    numeric: bool = False
    wide: bool = False


def words(head: str, field: str, note: str = "", *, wide: bool = False) -> Column:
    """A column of text."""
    return Column(
        head=head,
        note=note,
        text=lambda row: _word(row.get(field)),
        sort=lambda row: _word(row.get(field)).lower(),
        wide=wide,
    )


def numbers(head: str, field: str, note: str = "", show: Callable[[Any], str] = style.number) -> Column:
    """A column of numbers."""
    return Column(
        head=head, note=note, text=lambda row: show(row.get(field)), sort=lambda row: row.get(field), numeric=True
    )


def _word(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def html_table(
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, Any]],
    *,
    mark: Callable[[Mapping[str, Any]], bool] | None = None,
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


def _cell(column: Column, row: Mapping[str, Any]) -> str:
    value = column.sort(row)
    key = "" if value is None or value != value else str(float(value) if column.numeric else value)
    look = "n" if column.numeric else "wide" if column.wide else ""
    return f'<td class="{look}" data-sort="{escape(key, quote=True)}">{escape(column.text(row))}</td>'
