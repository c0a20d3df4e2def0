"""The leaderboard as the page reads it: a record a series, made once of whatever `rank_leads` gave."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from interp.report.rows import as_dict

LISTS = ("leaderboard", "hindsight", "baselines")
_NUMBERS = (
    "gain", "gain_low", "gain_high", "p_fwer", "auroc", "concordance", "median_lead", "realised_far", "far", "n_events",
    "n_censored", "cost",
)  # fmt: skip
_VERDICTS = {True: "yes", False: "no", None: "unknown"}
"""Of a board that does not put its verdict in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series of the board. Numbers are NaN where they are not defined, or not said.

    list: which of LISTS it stands in. coverage: (nominal false-alarm rate, share of events warned in time), by rate.
    facts: all that the board says of it.
    """

    list: str
    indicator: str
    component: str
    position: int | None
    task: str
    target: str
    leading: bool | None
    verdict: str
    reason: str
    runs_needed: int | None
    gain: float
    gain_low: float
    gain_high: float
    p_fwer: float
    auroc: float
    concordance: float
    median_lead: float
    realised_far: float
    far: float
    n_events: float
    n_censored: float
    cost: float
    coverage: tuple[tuple[float, float], ...]
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        return named(self.indicator, self.component, self.position)

    @property
    def covered(self) -> float:
        """Coverage at the rate that the board decides by (.05 where it does not say)."""
        return dict(self.coverage).get(round(0.05 if math.isnan(self.far) else self.far, 2), math.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """rows: all series, list by list. per_run: the first alarm of every run and series. given: whether there is a board."""

    rows: tuple[Series, ...] = ()
    per_run: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    given: bool = False

    def of(self, *lists: str) -> list[Series]:
        return [row for row in self.rows if row.list in lists]

    def frame(self) -> pd.DataFrame:
        """Every series with the `list` that it is on, and all that the board says of it."""
        return pd.DataFrame([{"list": row.list, **row.facts} for row in self.rows])


def read_board(board: Any) -> Board:
    """The board, from a record, a mapping, a JSON file, or None (an empty one)."""
    if isinstance(board, Board):
        return board
    if isinstance(board, str | Path):
        board = json.loads(Path(board).read_text())
    plain = {} if board is None else as_dict(board)
    return Board(
        rows=tuple(_series(name, as_dict(row)) for name in LISTS for row in plain.get(name) or ()),
        per_run=tuple(as_dict(row) for row in plain.get("per_run") or ()),
        notes=tuple(map(str, plain.get("notes") or ())),
        given=board is not None,
    )


def named(indicator: Any, component: Any = "", position: Any = None) -> str:
    """Indicator, component and @position as text, without what is empty."""
    at = "" if position is None or position != position or position == "" else f"@{int(position)}"
    return " ".join(filter(None, (str(indicator), _text(component), at)))


def _series(name: str, facts: dict[str, Any]) -> Series:
    leading = facts.get("leading")
    leading = None if leading is None or leading != leading else bool(leading)
    position, needed = facts.get("position"), facts.get("runs_needed")
    rates = sorted(key for key in facts if re.fullmatch(r"coverage_at_far_\d+", key))
    texts: dict[str, Any] = {key: _text(facts.get(key)) for key in ("component", "task", "target", "reason")}
    numbers: dict[str, Any] = {key: _float(facts.get(key)) for key in _NUMBERS}
    return Series(
        list=name,
        indicator=str(facts["indicator"]),
        position=None if position is None or position != position or position == "" else int(position),
        leading=leading,
        verdict=_text(facts.get("verdict")) or _VERDICTS[leading],
        runs_needed=int(needed) if needed and needed == needed else None,
        coverage=tuple((int(key.rpartition("_")[2]) / 100, _float(facts[key])) for key in rates),
        facts=facts,
        **texts,
        **numbers,
    )


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)
