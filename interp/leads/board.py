"""The leaderboard as a record, as JSON and as text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interp.figures.text import bare, html, in_columns, number, told
from interp.files import plain

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Board:
    """The outcome of `rank_leads`. The lists hold one plain mapping a series; NaN is "not defined here".

    leaderboard: online indicators, leading ones first, then by gain. hindsight: measures that use the run's end.
    baselines: the step and the trivial measures, whose gain is over step and setting only. spec: its digest.
    per_run: alarm and lead (T − alarm)/T of every run and series at the rate that decides; `budget` is the step up to
    which the run is known, its planned end or, where it has not got there, its last checkpoint. notes: what the reader
    must know.
    """

    leaderboard: tuple[dict[str, Any], ...]
    hindsight: tuple[dict[str, Any], ...]
    baselines: tuple[dict[str, Any], ...]
    spec: str
    per_run: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = [
            f"{name_of(row)} ({row['task']}): {row['verdict']}, gain {number(row['gain'])} bits "
            f"({number(row['gain_low'])} to {number(row['gain_high'])})"
            for row in self.leaderboard[:6]
        ]
        more = f"and {len(self.leaderboard) - 6} more" if len(self.leaderboard) > 6 else ""
        said = headline(self)
        said = said if len(said) <= 300 else f"{said[:299]}…"
        return told(f"Board: {said}", *lines, more, ".leaderboard, .hindsight, .baselines, .plot(), .to_pandas()")

    def _repr_html_(self) -> str:
        names = ("indicator", "component", "task", "verdict", "gain", "gain_low", "gain_high", "median_lead", "reason")
        rows = [{name: row.get(name, math.nan) for name in names} for row in self.leaderboard]
        return html(repr(self).split("\n")[0], rows)

    def to_pandas(self) -> pd.DataFrame:
        """A row a series, and which `list` it stands in: leaderboard, hindsight or baselines."""
        import pandas as pd

        lists = ("leaderboard", "hindsight", "baselines")
        return pd.DataFrame([{"list": name, **row} for name in lists for row in getattr(self, name)])

    def plot(self, *, most: int = 40) -> go.Figure:
        """A row an indicator in the board's order, at most `most`: its gain over the trivial measures with its interval, in
        bits a row; colour and mark say the verdict."""
        from interp.leads.figure import board_figure

        return board_figure([(name_of(row), row) for row in self.leaderboard], most)

    def to_json(self) -> dict[str, Any]:
        """Plain data with null for NaN and infinities."""
        return plain({name: getattr(self, name) for name in self.__slots__})


def order(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leading first, then undecided, then not; within each by gain, undefined last, then by name."""
    rank = {True: 0, None: 1, False: 2}

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        gain = row["gain"]
        name = (row["indicator"], row["task"], row["component"], -1 if row["position"] is None else row["position"])
        return rank[row["leading"]], -gain if math.isfinite(gain) else math.inf, *name

    return sorted(rows, key=place)


_COLUMNS = (
    ("verdict", "verdict"), ("coverage_at_far_05", "cov@.05"), ("realised_far", "FAR"), ("median_lead", "lead (of T)"),
    ("auroc", "AUROC"), ("concordance", "concord."), ("gain", "gain (bits)"), ("gain_low", "low"), ("gain_high", "high"),
    ("p_fwer", "p_fwer"), ("cost", "cost (passes)"),
)  # fmt: skip


def format_board(board: Board) -> str:
    """The three lists as text tables, with the notes above and the digest of the analysis below."""
    parts = [headline(board), *board.notes]
    for title, rows in (
        ("Leaderboard (gain in bits a row over step, setting and all trivial measures)", board.leaderboard),
        ("Hindsight measures (use the end of the run: no warning)", board.hindsight),
        ("Baselines (gain over step and setting)", board.baselines),
    ):
        if rows:
            parts += ["", title, *_table(rows)]
        if rows is board.leaderboard and rows:
            parts += [
                "",
                "Why",
                *(f"{name_of(row)} ({row['task']}): {row['verdict']}: {row['reason']}" for row in rows),
            ]
    return "\n".join([*parts, "", f"analysis {board.spec}"])


def headline(board: Board) -> str:
    """What was found, in one sentence."""
    leading = [name_of(row) for row in board.leaderboard if row["leading"]]
    if leading:
        return f"{len(leading)} of {len(board.leaderboard)} indicators lead the jump: {', '.join(leading)}."
    if not board.leaderboard:
        return "There is no online indicator to rank."
    n, open_ = len(board.leaderboard), [row for row in board.leaderboard if row["leading"] is None]
    if not open_:
        return f"None of {n} indicators leads the jump beyond what the trivial measures already say."
    needed = [row["runs_needed"] for row in open_ if row["runs_needed"]]
    more = f" (about {max(needed)} would)" if needed else f": {open_[0]['reason']}"
    if len(open_) == n:
        return f"These runs cannot tell whether any of {n} indicators leads{more}."
    return f"No indicator is called leading: {n - len(open_)} of {n} do not lead, of {len(open_)} these runs cannot tell{more}."


def name_of(row: dict[str, Any]) -> str:
    """`measure component @position`, without what is empty."""
    position = "" if row["position"] is None else f"@{row['position']}"
    return " ".join(filter(None, (row["indicator"], row["component"], position)))


def _table(rows: Iterable[dict[str, Any]]) -> list[str]:
    lines = [["indicator", "task", *(title for _, title in _COLUMNS)]]
    lines += [[name_of(row), row["task"], *(bare(row.get(key, math.nan)) for key, _ in _COLUMNS)] for row in rows]
    return in_columns(lines)
