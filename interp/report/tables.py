"""The tables of the page: jumps, leads, failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from interp.figures import style
from interp.leads.gain import LEAST_EVENTS
from interp.report.columns import Column, html_table, numbers, words
from interp.report.leads import LISTS, board_frame, row_name
from interp.report.outcomes import jump_frame
from interp.report.rows import records_of


def jumps_table(jumps: Any, *, measures: Sequence[str] | None = None) -> str:
    """One row a jump, and one for each curve without. `measures`: only these."""
    frame = jump_frame(jumps)
    if measures is not None:
        frame = frame[frame["measure"].isin(measures)]
    frame = frame.assign(
        who=[row["run"] or _without_run(row) for row in records_of(frame)],
        where=[row_name({**row, "indicator": row["measure"]}) for row in records_of(frame)],
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


def leads_tables(board: Any, onsets: pd.DataFrame) -> dict[str, str]:
    """A table for each list of the board that has rows: `leaderboard`, `hindsight`, `baselines`; the onsets' own
    leads beside."""
    rows = board_frame(board)
    own = onset_summary(onsets)
    tables = {}
    for name in LISTS:
        part = rows[rows["list"] == name] if len(rows) else rows
        if part.empty:
            continue
        if "gain" in part and "auroc" in part and part["gain"].isna().all():
            part = part.sort_values("auroc", ascending=False, kind="stable", na_position="last")
        part = part.assign(component=part["component"].fillna("") if "component" in part else "")
        keys = ["task", "indicator", "component"] if "task" in part else ["indicator", "component"]
        part = part.merge(own.drop_duplicates(keys), on=keys, how="left", suffixes=("", "_own"))
        columns = [c for c in _lead_columns(part) if name == "leaderboard" or c.head not in ("verdict", "why")]
        tables[name] = html_table(columns, records_of(part), mark=lambda row: row.get("leading") is True)
    return tables


def _lead_columns(part: pd.DataFrame) -> list[Column]:
    """The columns for which the board has any value."""
    several = part["task"].nunique() > 1 if "task" in part else False
    shown: dict[str, Column] = {
        "indicator": Column(head="indicator", text=lambda row: style.pretty(row_name(row)), sort=row_name),
        "task": words("task", "task"),
        "leading": Column(head="verdict", text=_verdict, sort=_verdict),
        "own_lead": Column(
            head="own lead, steps (% of T)",
            note="median lead of the indicator's own onset over the jump",
            numeric=True,
            text=_own_lead,
            sort=lambda row: row.get("own_lead"),
        ),
        "median_lead": numbers(
            "alarm lead, % of T", "median_lead", "median (T − alarm) / T, events warned in time", style.percent
        ),
        "n_events": Column(
            head="events / censored",
            note="runs with a completed jump / without one",
            numeric=True,
            text=lambda row: f"{style.number(row.get('n_events'))} / {style.number(row.get('n_censored'))}",
            sort=lambda row: row.get("n_events"),
        ),
        "realised_far": Column(
            head="coverage at FAR",
            note="events whose first alarm lies in the window, and the false-alarm rate on held-out runs",
            numeric=True,
            text=_coverage,
            sort=_covered,
        ),
        "auroc": _score("AUROC", "auroc", "jump within the horizon, at fixed landmarks"),
        "concordance": _score("concordance", "concordance", "of a discrete-time hazard model"),
        "gain": Column(
            head="gain, bits a row",
            note="held-out gain over the baselines, with its interval",
            numeric=True,
            text=_gain,
            sort=lambda row: row.get("gain"),
        ),
        "p_fwer": numbers("p, family-wise", "p_fwer", "by permutation of whole series between runs of one setting", _p),
        "cost": numbers("cost", "cost", "forward-pass equivalents a checkpoint"),
        "reason": words("why", "reason", wide=True),
    }
    always = {"indicator", "leading"}
    return [c for f, c in shown.items() if f in always or (_known(part, f) and (f != "task" or several))]


def _score(head: str, field: str, note: str) -> Column:
    """A rank statistic, left out where so few events give it that it is 0 or 1 by chance."""
    return Column(
        head=head,
        note=f"{note}; – with fewer than {LEAST_EVENTS} events",
        text=lambda row: _two(None if few_events(row) else row.get(field)),
        sort=lambda row: None if few_events(row) else row.get(field),
        numeric=True,
    )


def few_events(row: Mapping[str, Any]) -> bool:
    """Whether a row of the board rests on fewer events than a gain needs."""
    n = row.get("n_events")
    return n is not None and n < LEAST_EVENTS


def _known(part: pd.DataFrame, field: str) -> bool:
    return field in part and bool(part[field].notna().any()) and bool((part[field].astype(str) != "").any())


def _verdict(row: Mapping[str, Any]) -> str:
    if isinstance(row.get("verdict"), str):
        return str(row["verdict"])
    value = row.get("leading")
    return "unknown" if value is None or value != value else "yes" if value else "no"


def _covered(row: Mapping[str, Any]) -> Any:
    """Coverage at the rate that the board decides by (.05 where it does not say)."""
    rate = row.get("far")
    return row.get(f"coverage_at_far_{round(100 * (rate if rate and rate == rate else 0.05)):02d}")


def _coverage(row: Mapping[str, Any]) -> str:
    return f"{style.percent(_covered(row))} at {style.percent(row.get('realised_far'))}"


def _own_lead(row: Mapping[str, Any]) -> str:
    share = row.get("own_lead")
    return "–" if share is None or share != share else f"{_whole(row.get('own_lead_steps'))} ({style.percent(share)})"


def _gain(row: Mapping[str, Any]) -> str:
    value, low, high = (row.get(name) for name in ("gain", "gain_low", "gain_high"))
    if value is None or value != value:
        return "–"
    interval = f" ({_two(low)} to {_two(high)})" if low is not None and low == low else ""
    return f"{_two(value)}{interval}"


def _p(value: Any) -> str:
    return "< 0.001" if value is not None and value < 0.001 else _two(value)


def _two(value: Any) -> str:
    """Two decimals (three where the first two are 0)."""
    if value is None or value != value:
        return "–"
    text = f"{float(value):.2f}" if abs(value) >= 0.01 or value == 0 else f"{float(value):.3f}"
    return text.replace("-", "−")


def _whole(value: Any) -> str:
    return "–" if value is None or value != value else style.number(round(float(value)))


def onset_table(onsets: pd.DataFrame) -> str:
    """The indicators' own onsets, where no board has been made."""
    own = onset_summary(onsets)
    columns = [
        Column(head="indicator", text=lambda row: style.pretty(row_name(row)), sort=row_name),
        *([words("task", "task")] if own["task"].nunique() > 1 else []),
        numbers("median lead, steps", "own_lead_steps", show=_whole),
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
