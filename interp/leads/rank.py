"""The leaderboard: every indicator scored by one protocol, beside its baselines and against its nulls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from interp.errors import InputError, unknown
from interp.leads.board import Board, order
from interp.leads.evidence import Gains, series_gains
from interp.leads.nulls import p_family, too_few
from interp.leads.panel import Panel, make_panel, past_budget
from interp.leads.rows import score_rows
from interp.leads.spec import Spec, read_spec
from interp.leads.splits import pooled
from interp.table import read_table
from interp.table.events import Change, choose_target
from interp.table.rolling import rolling


def rank_leads(
    table: pd.DataFrame | str | Path,
    *,
    target: str | None = None,
    direction: str | None = None,
    jumps: Iterable[Change] | None = None,
    spec: Spec | Mapping[str, Any] | str | Path | None = None,
) -> Board:
    """Which indicators lead the jump of the target behaviour, and what the evidence is.

    table: runs with behaviours and indicators, told apart by the column `kind`.
    target: the behaviour; default `exact_match`, else `accuracy`.
    direction: `up` or `down`, whither the target improves; by default its name tells (a loss falls).
    jumps: records that `find_jumps` gave for this table, so that the target is not judged twice.
    spec: the analysis, a record, a mapping or a YAML file.

    An indicator is `leading` when the lower end of its gain's interval is above 0, its family-wise p is at most .05,
    and its coverage is above its false-alarm rate, nominal and realised; `not leading` when its gain's interval lies
    below the margin in runs that would show a leader; else `undetermined`, with the reason and the number of runs that
    would decide (`interp.leads.verdict`). The family is all indicators of all tasks of the table.

    Raises:
        InputError: a table without `kind`, or whose tasks have no such target.
    """
    spec = read_spec(spec)
    spec = read_spec(replace(spec, target=target or spec.target, direction=direction or spec.direction))
    panels, notes = make_panels(read_table(table), spec, jumps)
    return board_of(panels, gains_of(panels, spec), notes, spec)


def gains_of(panels: Sequence[Panel], spec: Spec) -> dict[str, Gains]:
    """What the indicators of every task add to its trivial measures, by task."""
    return {panel.task: series_gains(panel, panel.of("indicator"), panel.of("baseline"), spec) for panel in panels}


def board_of(panels: Sequence[Panel], scored: Mapping[str, Gains], notes: Sequence[str], spec: Spec) -> Board:
    """The board of panels (`make_panels`) whose gains are known (`gains_of`)."""
    notes, family, across = list(notes), _family(panels, scored), pooled(panels)
    board: dict[str, list[dict[str, Any]]] = {"indicator": [], "hindsight": [], "baseline": []}
    per_run: list[dict[str, Any]] = []
    for panel in panels:
        rows, leads = score_rows(panel, scored[panel.task], family[panel.task], across, spec)
        for role, row in rows:
            board[role].append(row)
        per_run += leads
        notes += _notes(panel, scored[panel.task])
    return Board(
        leaderboard=tuple(order(board["indicator"])),
        hindsight=tuple(order(board["hindsight"])),
        baselines=tuple(order(board["baseline"])),
        spec=spec.digest,
        per_run=tuple(per_run),
        notes=tuple(notes),
    )


def make_panels(
    table: pd.DataFrame, spec: Spec, jumps: Iterable[Change] | None = None
) -> tuple[list[Panel], list[str]]:
    """The panel of every task that has the target, and notes on the tasks that have not."""
    if "kind" not in table.attrs["given"]:
        raise InputError("the table has no column 'kind'; leads needs it to tell 'behaviour' from 'indicator'")
    table = _with_rolling(table, spec)
    for name in spec.shuffled:
        if name not in set(table["setting"]):
            raise unknown("setting with shuffled labels", name, set(table["setting"]))
    jumps = None if jumps is None else list(jumps)
    panels, notes, refusal = [], [], InputError("no task in the table")
    for task in sorted(table["task"].unique()):
        try:
            choose_target(table, task, spec.target)
        except InputError as error:
            refusal = error
            notes.append(f"skipped: {error}")
            continue
        panels.append(make_panel(table, task, spec, jumps))
    if not panels:
        raise refusal
    return panels, notes


def _with_rolling(table: pd.DataFrame, spec: Spec) -> pd.DataFrame:
    """The table with the rolling statistics that the spec names and it does not hold."""
    names = [name for name in spec.rolling if name not in set(table["measure"])]
    if not names:
        return table
    joined = pd.concat([table, rolling(table, measures=names)], ignore_index=True)
    joined.attrs = table.attrs
    return joined


def _family(panels: Sequence[Panel], scored: Mapping[str, Gains]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Family-wise p (standardised, raw) of every indicator of every task: the maximum runs over all of them."""
    told = [panel.task for panel in panels if scored[panel.task].exchanged is not None]
    out = {panel.task: (np.full_like(scored[panel.task].gain, np.nan),) * 2 for panel in panels}
    if not told:
        return out
    observed = np.concatenate([scored[task].gain for task in told])
    null = np.concatenate([scored[task].exchanged for task in told], axis=1)
    edges = np.cumsum([len(scored[task].gain) for task in told])[:-1]
    for task, *p in zip(
        told, *(np.split(p_family(observed, null, standardise=s), edges) for s in (True, False)), strict=True
    ):
        out[task] = (p[0], p[1])
    return out


def _notes(panel: Panel, gains: Gains) -> list[str]:
    n, events = len(panel.runs), int(panel.event.sum())
    notes = [
        f"{panel.task}: {events} of {n} runs jump in {panel.target} within their budget, {n - events} are censored"
    ]
    if gains.reason:
        notes.append(f"{panel.task}: no gain: {gains.reason}")
    elif reason := too_few(panel.setting):
        notes.append(f"{panel.task}: no family-wise p: {reason}")
    return notes + past_budget(panel)
