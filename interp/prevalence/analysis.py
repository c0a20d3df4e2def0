"""How often do curves jump? One analysis of a table, top to bottom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.errors import InputError, unknown
from interp.figures.text import html, listed, percent, told
from interp.files import plain
from interp.jumps import find_jumps
from interp.prevalence.curves import FOUND, curve_rows, levels, scan_parameters
from interp.prevalence.power import TRUE, confusion
from interp.prevalence.shares import Shares, permutation_p, shares
from interp.table import read_table
from interp.table.events import LEAST_RISE, Change

if TYPE_CHECKING:
    import plotly.graph_objects as go

MODERATORS = (
    "skill",
    "suite",
    "task_type",
    "metric_kind",
    "chance",
    "answer_length",
    "shots",
    "size",
    "family",
    "setting",
)
"""Looked at without being asked, where the table tells them and they vary; parameters of a scan too."""
JUMPS = (*TRUE[:3],)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Prevalence:
    """The outcome of `prevalence`. The lists hold one plain mapping a row; NaN is "not defined here".

    shares: measure, group, kind (abrupt, gradual, artefact, none, and `jump` for the first three together), share with
        low and high (95 %) of the curves that can be told, n of them; observed: the plain share that was found.
    undetermined: measure, group, share, low, high, n of the curves that the grid cannot tell.
    power: measure, kind, detected (share of planted changes found as one of any kind), as_kind (found as theirs), missed,
        undetermined, n.
    moderators: moderator, measure, group, share of curves that jump with low and high, n, and p of "the groups differ no
        more than groups dealt out at random". by: the column of the groups. notes: what the reader must know.
    """

    shares: tuple[dict[str, Any], ...]
    undetermined: tuple[dict[str, Any], ...]
    power: tuple[dict[str, Any], ...]
    moderators: tuple[dict[str, Any], ...] = ()
    by: str | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        jumps = [row for row in self.shares if row["kind"] == "jump"]
        lines = [
            f"{row['measure']}{'' if row['group'] == 'all' else ', ' + str(row['group'])}: {percent(row['share'])} jump "
            f"({percent(row['low'])} to {percent(row['high'])}; {row['n']} curves)"
            for row in jumps[:6]
        ]
        more = f"and {len(jumps) - 6} more" if len(jumps) > 6 else ""
        measures = listed(dict.fromkeys(row["measure"] for row in self.shares))
        by = f" by {self.by}" if self.by else ""
        return told(f"Prevalence of jumps{by}: {measures}", *lines, more, ".shares, .power, .plot(), .to_pandas()")

    def _repr_html_(self) -> str:
        return html(repr(self).split("\n")[0], self.shares)

    def to_pandas(self) -> pd.DataFrame:
        """`shares` as a table."""
        return pd.DataFrame(self.shares)

    def plot(self) -> go.Figure:
        """The shares with their 95 % intervals, a row a measure, group and kind."""
        from interp.prevalence.figure import prevalence_figure

        return prevalence_figure(self)

    def to_json(self) -> dict[str, Any]:
        """Plain data with null for NaN."""
        return plain(asdict(self))


def prevalence(
    table: pd.DataFrame | str | Path,
    *,
    by: str | None = None,
    measures: Sequence[str] | None = None,
    direction: str | None = None,
    min_magnitude: float = LEAST_RISE,
    jumps: Iterable[Change] | None = None,
    n_planted: int = 40,
    draws: int = 400,
    seed: int = 0,
) -> Prevalence:
    """The share of behaviour curves that jump, by kind, for each measure.

    A curve's fate is its event (`interp.table.events`). What was found is corrected for what the grid could have seen:
    `n_planted` changes of each kind are planted on the curves' own grids and noise, and the shares are those under
    which what was found is most likely; what cannot be told is apart. Intervals are bootstrapped over crossed
    clusters: tasks, families, seeds.

    by: any column of the table that a curve has one value of, or a moderator that names tell: `size`, `suite` (a task's
        name before its first "-" or ":"), `skill` and the parameters of a scan (`addition[n_digits=3]`), `shots`,
        `metric_kind`, `chance` (the level at the first checkpoint, for discontinuous measures), `answer_length`.
    measures: only these. direction, min_magnitude: as for the leaderboard. jumps: what `find_jumps` gave, if any.

    Raises:
        InputError: not a table of the contract, no such column or measure, or no behaviour in it.
    """
    full = read_table(table)
    full = _chosen(full, measures)
    found = list(jumps) if jumps is not None else find_jumps(full, min_magnitude=min_magnitude, models=False)
    curves = curve_rows(full, found, direction=direction, min_magnitude=min_magnitude)
    group = _groups(curves, by)
    rng = np.random.default_rng([seed, 41])
    told: dict[str, list[dict[str, Any]]] = {"shares": [], "undetermined": [], "power": [], "moderators": []}
    for measure, own in curves.groupby("measure", sort=True):
        name = str(measure)
        count = confusion(full, curves, name, n=n_planted, min_magnitude=min_magnitude, rng=rng)
        told["power"] += _power_rows(name, count)
        for label in ["all", *sorted(group[own.index].dropna().unique())] if by else ["all"]:
            part = own if label == "all" else own[group[own.index] == label]
            made = shares(part, FOUND, count, draws=draws, rng=rng)
            told["shares"] += _share_rows(name, label, made)
            told["undetermined"].append(_apart(name, label, part, draws, rng))
        told["moderators"] += _moderators(name, own, count, by, draws, rng)
    return Prevalence(**{key: tuple(rows) for key, rows in told.items()}, by=by, notes=tuple(_notes(curves, told)))


def _chosen(table: pd.DataFrame, measures: Sequence[str] | None) -> pd.DataFrame:
    behaviour = table[table["kind"] == "behaviour"]
    if behaviour.empty:
        raise InputError("the table has no row of kind 'behaviour'; there is nothing whose jumps could be counted")
    for name in measures or ():
        if name not in set(behaviour["measure"]):
            raise unknown("measure", name, set(behaviour["measure"]))
    kept = table if measures is None else table[table["measure"].isin(list(measures)) | (table["kind"] != "behaviour")]
    kept = kept.reset_index(drop=True)
    kept.attrs = dict(table.attrs)
    return kept


def _groups(curves: pd.DataFrame, by: str | None) -> pd.Series:
    own = ("found", "midpoint", "width", "magnitude", "span", "sign", "start")
    columns = [name for name in curves.columns if name not in own]
    if by is None:
        return pd.Series("all", index=curves.index)
    if by not in columns:
        raise unknown("column", by, columns)
    return levels(curves[by])


def _share_rows(measure: str, group: str, made: Shares) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"measure": measure, "group": group, "kind": kind, "share": float(made.share[k]), "low": float(made.low[k]),
         "high": float(made.high[k]), "n": made.n, "observed": float(made.observed[FOUND.index(kind)])}
        for k, kind in enumerate(TRUE)
    ]  # fmt: skip
    none = rows[TRUE.index("none")]
    jump = {"measure": measure, "group": group, "kind": "jump", "share": 1 - none["share"], "low": 1 - none["high"],
            "high": 1 - none["low"], "n": made.n, "observed": float(made.observed[:3].sum())}  # fmt: skip
    return [*rows, jump]


def _apart(measure: str, group: str, part: pd.DataFrame, draws: int, rng: np.random.Generator) -> dict[str, Any]:
    """The share of curves that the grid cannot tell, with its interval over the same clusters."""
    two = part.assign(found=np.where(part["found"] == "undetermined", "undetermined", "told"))
    exact = 1e6 * np.eye(2, 3)
    made = shares(two, ("undetermined", "told", ""), exact, draws=draws, rng=rng)
    return {"measure": measure, "group": group, "share": float(made.share[0]), "low": float(made.low[0]),
            "high": float(made.high[0]), "n": made.n}  # fmt: skip


def _power_rows(measure: str, count: np.ndarray) -> list[dict[str, Any]]:
    part = count / np.maximum(count.sum(axis=1, keepdims=True), 1)
    return [
        {"measure": measure, "kind": kind, "detected": float(part[k, :3].sum()), "as_kind": float(part[k, k]),
         "missed": float(part[k, 3]), "undetermined": float(part[k, 4]), "n": int(count[k].sum())}
        for k, kind in enumerate(TRUE) if kind in ("abrupt", "gradual", "none")
    ]  # fmt: skip


def _moderators(
    measure: str, own: pd.DataFrame, count: np.ndarray, by: str | None, draws: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    names = [name for name in (*MODERATORS, *_scanned(own), *([by] if by else [])) if name in own]
    rows = []
    for name in dict.fromkeys(names):
        group = levels(own[name])
        if group.dropna().nunique() < 2:
            continue
        p = permutation_p(own, group, draws=draws, rng=rng)
        for label in sorted(group.dropna().unique()):
            made = _share_rows(measure, label, shares(own[group == label], FOUND, count, draws=draws, rng=rng))[-1]
            rows.append({"moderator": name, **{key: made[key] for key in ("measure", "group", "share", "low", "high", "n")},
                         "p": p})  # fmt: skip
    return rows


def _scanned(own: pd.DataFrame) -> list[str]:
    """Parameters that a scan varies, by the names of its tasks."""
    return list(dict.fromkeys(name for task in own["task"].unique() for name in scan_parameters(task)))


def _notes(curves: pd.DataFrame, told: dict[str, list[dict[str, Any]]]) -> list[str]:
    notes = []
    for measure, own in curves.groupby("measure", sort=True):
        parts = [f"{own[name].nunique()} {word}" for name, word in
                 (("task", "tasks"), ("family", "families"), ("seed", "seeds")) if own[name].nunique() > 1]  # fmt: skip
        notes.append(
            f"{measure}: {len(own)} curves of {own['run'].nunique()} runs; clusters: {', '.join(parts) or 'runs'}"
        )
    weak = [f"{row['kind']} changes of {row['measure']} ({row['detected']:.0%})" for row in told["power"]
            if row["kind"] != "none" and row["detected"] < 0.5]  # fmt: skip
    if weak:
        notes.append(f"these grids see fewer than half of {', '.join(weak)}: their shares rest on the correction")
    return notes
