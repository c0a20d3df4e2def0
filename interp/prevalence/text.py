"""What `prevalence` found, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interp.figures.text import in_columns, number, percent
from interp.prevalence.analysis import Prevalence


def format_prevalence(found: Prevalence) -> str:
    """Shares, what cannot be told, the power of the grids and the moderators, as text tables."""
    parts = [*found.notes]
    title = f"Share of curves, by {found.by}" if found.by else "Share of curves"
    shares = [[*_row(row, ("measure", "group", "kind")), percent(row["observed"])] for row in found.shares]
    parts += ["", f"{title} (95 % interval over tasks, families, seeds; corrected for what the grids could have seen)"]
    parts += _table(["measure", "group", "kind", "share", "interval", "n", "as found"], shares)
    apart = [_row(row, ("measure", "group")) for row in found.undetermined]
    parts += ["", "Cannot be told", *_table(["measure", "group", "share", "interval", "n"], apart)]
    power = [
        [row["measure"], row["kind"], *(percent(row[key]) for key in _POWER), str(row["n"])] for row in found.power
    ]
    parts += ["", "What the grids see of planted changes"]
    parts += _table(["measure", "planted", "detected", "as its kind", "missed", "cannot be told", "n"], power)
    if found.moderators:
        rows = [[*_row(row, ("moderator", "measure", "group")), number(row["p"], digits=2)] for row in found.moderators]
        parts += ["", "What goes with it: share of curves that jump (p: groups dealt out at random differ as much)"]
        parts += _table(["moderator", "measure", "group", "share", "interval", "n", "p"], rows)
    return "\n".join(parts)


_POWER = ("detected", "as_kind", "missed", "undetermined")


def _row(row: dict[str, Any], names: Sequence[str]) -> list[str]:
    ends = f"{percent(row['low'])} to {percent(row['high'])}"
    return [*(str(row[name]) for name in names), percent(row["share"]), ends, str(row["n"])]


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return in_columns([header, *rows], indent="  ")
