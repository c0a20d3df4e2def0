"""The tables of the page: jumps, leads, failures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from interp.figures import style
from interp.leads.gain import LEAST_EVENTS
from interp.report.board import LISTS, Series, named, read_board
from interp.report.columns import Column, html_table, numbers, words
from interp.report.outcomes import jump_frame
from interp.report.rows import records_of, rows_of


def jumps_table(jumps: Any, *, measures: Sequence[str] | None = None) -> str:
    """One row a jump, and one for each curve without. `measures`: only these."""
    frame = jump_frame(jumps)
    if measures is not None:
        frame = frame[frame["measure"].isin(measures)]
    frame = frame.assign(
        who=[row["run"] or _without_run(row) for row in records_of(frame)],
        where=[named(row["measure"], row["component"], row["position"]) for row in records_of(frame)],
    )
    columns = [
        words("run", "who"),
        *([words("task", "task")] if frame["task"].nunique() > 1 else []),
        words("measure", "where"),
        words("kind", "kind", "abrupt, gradual, none, artefact, spike or undetermined"),
        numbers("before", "step_before", "last checkpoint below 10 % of the rise"),
        numbers("after", "step_after", "first checkpoint above 90 % of the rise"),
        numbers("midpoint", "midpoint", "step of the half-way point"),
        *_band(frame),
        numbers("width", "width_decades", "10-90 % of the rise, in decades of steps", _two),
        numbers("magnitude", "magnitude", "change of the measure"),
        numbers("p", "p_value", "against the calibrated null", _p),
        *([words("model", "model", "the curve that describes it best")] if "model" in frame else []),
        words("reason", "reason", wide=True),
    ]
    return html_table(columns, records_of(frame), mark=lambda row: row["kind"] in ("abrupt", "gradual"))


def _without_run(row: Mapping[str, Any]) -> str:
    where = row["setting"] or "all settings"
    return f"{where}, over sizes (steps are parameters)" if row.get("over") == "size" else f"{where}, over seeds"


def _band(frame: pd.DataFrame) -> list[Column]:
    low, high = "midpoint_low", "midpoint_high"
    if low not in frame or high not in frame:
        return []
    text = lambda row: f"{style.number(row[low])} to {style.number(row[high])}" if row[low] == row[low] else "–"  # noqa: E731
    return [
        Column(head="band", note="confidence band of the midpoint", text=text, sort=lambda row: row[low], numeric=True)
    ]


def onset_summary(onsets: pd.DataFrame) -> pd.DataFrame:
    """One row a task, indicator and component: own_lead_steps and own_lead (medians over the runs with an onset),
    onsets, ahead, runs."""
    keys = ["task", "indicator", "component"]
    onsets = onsets[onsets["event"].astype(bool)]
    if onsets.empty:
        return pd.DataFrame(columns=[*keys, "own_lead_steps", "own_lead", "onsets", "ahead", "runs", "online"])
    grouped = onsets.groupby(keys, sort=True)
    summary = grouped.agg(
        own_lead_steps=("lead_steps", "median"),
        own_lead=("lead", "median"),
        onsets=("onset", "count"),
        ahead=("lead", lambda lead: int((lead > 0).sum())),
        runs=("run", "nunique"),
        online=("online", "first"),
    )
    return summary.reset_index().sort_values(
        ["own_lead", "indicator"], ascending=[False, True], na_position="last", ignore_index=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lead:
    """A series of the board, and the lead of its own onset: in steps and as a share of T."""

    of: Series
    own_steps: float
    own: float


def leads_tables(board: Any, onsets: pd.DataFrame) -> dict[str, str]:
    """A table for each list of the board that has rows: `leaderboard`, `hindsight`, `baselines`; the onsets' own
    leads beside."""
    board = read_board(board)
    own: dict[tuple[str, str, str], tuple[float, float]] = {}
    for row in rows_of(onset_summary(onsets)):
        for task in (row.task, ""):  # a board of one task may not name it
            own.setdefault((task, row.indicator, row.component), (row.own_lead_steps, row.own_lead))
    tables = {}
    for name in LISTS:
        part = board.of(name)
        if not part:
            continue
        if all(row.gain != row.gain for row in part):
            part = sorted(part, key=lambda row: math.inf if row.auroc != row.auroc else -row.auroc)
        nothing = (math.nan, math.nan)
        leads = [
            _Lead(of=row, own_steps=steps, own=share)
            for row in part
            for steps, share in [own.get((row.task, row.indicator, row.component), nothing)]
        ]
        columns = [c for c in _lead_columns(leads) if name == "leaderboard" or c.head not in ("verdict", "why")]
        tables[name] = html_table(columns, leads, mark=lambda row: row.of.leading is True)
    return tables


def _lead_columns(leads: Sequence[_Lead]) -> list[Column]:
    """The columns for which the board has any value."""
    few = f"– with fewer than {LEAST_EVENTS} events"
    own = "median lead of the indicator's own onset over the jump"
    coverage = "events whose first alarm lies in the window, and the false-alarm rate on held-out runs"
    shown = [
        numbers("own lead, steps (% of T)", lambda row: row.own, own, text=_own_lead),
        numbers(
            "alarm lead, % of T",
            lambda row: row.of.median_lead,
            "median (T − alarm) / T, events warned in time",
            style.percent,
        ),
        numbers(
            "events / censored",
            lambda row: row.of.n_events,
            "runs with a completed jump / without one",
            text=lambda row: f"{style.number(row.of.n_events)} / {style.number(row.of.n_censored)}",
        ),
        numbers(
            "coverage at FAR",
            lambda row: row.of.covered,
            coverage,
            text=lambda row: f"{style.percent(row.of.covered)} at {style.percent(row.of.realised_far)}",
        ),
        numbers("AUROC", _ranked("auroc"), f"jump within the horizon, at fixed landmarks; {few}", _two),
        numbers("concordance", _ranked("concordance"), f"of a discrete-time hazard model; {few}", _two),
        numbers(
            "gain, bits a row",
            lambda row: row.of.gain,
            "held-out gain over the baselines, with its interval",
            text=_gain,
        ),
        numbers(
            "p, family-wise",
            lambda row: row.of.p_fwer,
            "by permutation of whole series between runs of one setting",
            _p,
        ),
        numbers("cost", lambda row: row.of.cost, "forward-pass equivalents a checkpoint"),
        words("why", lambda row: row.of.reason, wide=True),
    ]
    several = len({row.of.task for row in leads}) > 1
    return [
        Column(head="indicator", text=lambda row: style.pretty(row.of.name), sort=lambda row: row.of.name),
        *([words("task", lambda row: row.of.task)] if several else []),
        words("verdict", lambda row: row.of.verdict),
        *(column for column in shown if any(_is_said(column.sort(row)) for row in leads)),
    ]


def _is_said(value: Any) -> bool:
    return value == value and value != ""


def _ranked(name: str) -> Callable[[_Lead], float]:
    """A rank statistic, left out where so few events give it that it is 0 or 1 by chance."""
    return lambda row: math.nan if few_events(row.of) else getattr(row.of, name)


def _own_lead(row: _Lead) -> str:
    return "–" if row.own != row.own else f"{style.number(row.own_steps)} ({style.percent(row.own)})"


def _gain(row: _Lead) -> str:
    low, high = row.of.gain_low, row.of.gain_high
    return _two(row.of.gain) + (f" ({_two(low)} to {_two(high)})" if low == low else "")


def few_events(row: Series) -> bool:
    """Whether a row of the board rests on fewer events than a gain needs."""
    return row.n_events < LEAST_EVENTS


def _two(value: Any) -> str:
    """Two digits: what a share, a width or a gain is known to."""
    return style.number(value, digits=2)


def _p(value: Any) -> str:
    return "< 0.001" if value is not None and value < 0.001 else _two(value)


def _named(row: Mapping[str, Any]) -> str:
    return named(row["indicator"], row["component"])


def onset_table(onsets: pd.DataFrame) -> str:
    """The indicators' own onsets, where no board has been made."""
    own = onset_summary(onsets)
    columns = [
        Column(head="indicator", text=lambda row: style.pretty(_named(row)), sort=_named),
        *([words("task", "task")] if own["task"].nunique() > 1 else []),
        numbers("median lead, steps", "own_lead_steps"),
        numbers("median lead, % of T", "own_lead", show=style.percent),
        Column(
            head="ahead in",
            note="runs in which the onset comes before the jump",
            numeric=True,
            text=lambda row: f"{row['ahead']} of {row['runs']} runs",
            sort=lambda row: row["ahead"],
        ),
        numbers("runs with an onset", "onsets"),
        Column(
            head="online", text=lambda row: "yes" if row["online"] else "hindsight", sort=lambda row: str(row["online"])
        ),
    ]
    return html_table(columns, records_of(own))


def failures_table(failures: Sequence[Mapping[str, Any]]) -> str:
    """What failed and why."""
    return html_table(
        [words(name, name, wide=name in ("unit", "error")) for name in ("unit", "task", "measure", "error")],
        list(failures),
    )
