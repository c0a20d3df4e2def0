"""What became of each run: the record of its jump in the target measure, or why there is none.

`jumps` everywhere in this package is what `interp.jumps.find_jumps` gives, its JSON, or a DataFrame of the same
fields.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from interp.figures import style
from interp.leads.spec import Spec, read_spec
from interp.report.board import read_board
from interp.report.rows import as_dict, rows_of
from interp.table import COLUMNS, read_table
from interp.table.events import TARGETS, Event, events_of, run_facts

_CONTROL = re.compile(r"control|shuffle|no(weight)?decay|(little|few|low|less)(train(ing)?)?(data|examples)")
_TEXTS = ("run", "setting", "task", "measure", "component", "position", "kind", "reason")
_NUMBERS = ("step_before", "step_after", "midpoint", "width_decades", "magnitude", "p_value", "span")


def as_table(table: Any) -> pd.DataFrame:
    """The validated table; one that `read_table` has given is taken as it is."""
    if isinstance(table, pd.DataFrame) and "given" in table.attrs and set(COLUMNS) <= set(table.columns):
        return table
    return read_table(table)


def jump_frame(jumps: Any) -> pd.DataFrame:
    """Jump records of any form (dataclasses, dictionaries, `{"jumps": […]}`, DataFrame, None) as one DataFrame.

    The columns of the contract are always there; undefined numbers are NaN, undefined text is "".
    """
    frame = (
        jumps.copy() if isinstance(jumps, pd.DataFrame) else pd.DataFrame([as_dict(record) for record in _rows(jumps)])
    )
    for name in (*_TEXTS, *_NUMBERS):
        column = frame[name] if name in frame else pd.Series(np.nan, index=frame.index)
        if name in _NUMBERS:
            frame[name] = pd.to_numeric(column, errors="coerce").astype(float)
        else:
            frame[name] = column.astype(object).where(column.notna(), "").astype(str)
    censored = frame["left_censored"] if "left_censored" in frame else pd.Series(False, index=frame.index)
    frame["left_censored"] = [flag is True or str(flag).lower() == "true" for flag in censored]
    return frame.reset_index(drop=True)


def _rows(jumps: Any) -> Iterable[Any]:
    if jumps is None:
        return []
    return jumps["jumps"] if isinstance(jumps, Mapping) else jumps


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStyle:
    """How one run is drawn in every figure: runs of one group (size and setting) share label, colour and dash."""

    label: str
    colour: str
    dash: str
    order: int
    control: bool


def run_styles(table: Any, controls: Collection[str] | None = None) -> dict[str, RunStyle]:
    """The style of each run, ordered by size; `controls` names the settings that are not meant to jump
    (None: those whose name says so: control, shuffled, no decay, little data and the like). Controls come last and are
    grey."""
    runs = _facts(as_table(table))
    alike = (runs.groupby("size_")["setting"].nunique() == 1).all()
    runs["variant"] = ["" if alike and row.size_ else _variant(row.setting, row.size_) for row in rows_of(runs)]
    runs["control"] = [_is_control(row.setting, row.variant, controls) for row in rows_of(runs)]
    sizes = list(dict.fromkeys(runs.sort_values(["n_params", "rank", "size_"], kind="stable")["size_"]))
    counts = runs.loc[~runs["control"], "variant"].value_counts(sort=False)
    main = str(counts.idxmax()) if len(counts) else ""
    variants = [main, *sorted(set(runs["variant"]) - {main})]
    plain = [variant for variant in variants if not runs.loc[runs["variant"] == variant, "control"].all()]
    shades = dict(zip(sizes, style.ramp(len(sizes)), strict=True))
    drawn = {}
    for row in rows_of(runs):
        place = variants.index(row.variant)
        colour = shades[row.size_] if len(sizes) > 1 else style.SETTING_COLOURS[place % len(style.SETTING_COLOURS)]
        drawn[row.run] = RunStyle(
            label=_label(
                row.size_, row.variant, main=main, alone=len(sizes) == 1, several=len(plain) > 1 or row.control
            ),
            colour=style.GREY if row.control else colour,
            dash=style.DASHES[place % len(style.DASHES)] if row.control or len(sizes) > 1 else "solid",
            order=(len(variants) * len(sizes) if row.control else 0) + place * len(sizes) + sizes.index(row.size_),
            control=bool(row.control),
        )
    return drawn


def _facts(table: pd.DataFrame) -> pd.DataFrame:
    """One row a run: run, size_, setting, n_params, rank (the first number in the size's name, so that 2b < 10b)."""
    first = table.drop_duplicates("run").sort_values("run", ignore_index=True)
    runs = first[["run", "size", "setting", "n_params"]].rename(columns={"size": "size_"})
    return runs.assign(rank=[_magnitude(size) for size in runs["size_"]])


def _magnitude(size: str) -> float:
    found = re.search(r"(\d+(?:\.\d+)?)([kmbt]?)", size.lower())
    return float(found[1]) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}[found[2]] if found else 0.0


def _variant(setting: str, size: str) -> str:
    """The setting without the size in its name."""
    rest = re.sub(rf"(?<![A-Za-z0-9]){re.escape(size)}(?![A-Za-z0-9])", "", setting) if size else setting
    rest = re.sub(r"[-_]{2,}", "-", rest)
    return " ".join(part.strip("-_") for part in re.split(r"[/|, ]+", rest) if part.strip("-_"))


def _is_control(setting: str, variant: str, controls: Collection[str] | None) -> bool:
    if controls is None:
        return bool(_CONTROL.search(re.sub(r"[-_ ]", "", setting.lower())))
    return setting in controls or variant in controls


def _label(size: str, variant: str, *, main: str, alone: bool, several: bool) -> str:
    if alone:
        return variant or size or "all runs"
    return f"{size} {variant}".strip() if (several and variant != main) or not size else size


def target_curves(table: pd.DataFrame, board: Any = None) -> list[tuple[str, str]]:
    """(task, measure) whose jump counts: the board's targets, else exact_match, else accuracy, else the first
    behaviour."""
    chosen: dict[Any, str] = {row.task: row.target for row in read_board(board).rows if row.task and row.target}
    curves = behaviour(table)
    for task, part in curves.groupby("task", sort=True):
        there = list(part["measure"].unique())
        if chosen.get(task) not in there:
            chosen[str(task)] = next((name for name in TARGETS if name in there), there[0])
    return [(str(task), chosen[task]) for task in curves["task"].unique() if task in chosen]


def behaviour(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that say what the whole model does: no component, no position (of a table that does not tell kinds
    apart, every such row)."""
    return table[(table["kind"] == "behaviour") & (table["component"] == "") & (table["position"] == "")]


def outcomes(
    table: Any, jumps: Any, task: str, measure: str, *, spec: Spec | Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """One row a run that has the curve: run, size, setting, seed, kind, jumped, reason, the numbers of the jump record,
    start, end (first and last value), last_step, budget.

    `jumped`: the run has an event as the leaderboard counts it (`interp.table.events`): the first change towards better,
    of at least the least magnitude of `spec`, begun after the second checkpoint and within the budget and complete
    before the last one. That a companion calls it an artefact of the measure takes nothing from the event; `kind` says
    so. Without an event, `kind` and `reason` tell what was found instead.
    """
    table, spec = as_table(table), read_spec(spec)
    curve = behaviour(table)
    curve = curve[(curve["task"] == task) & (curve["measure"] == measure)]
    goal = curve[curve["value"].notna()]
    found = jump_frame(jumps)
    found = found[(found["task"] == task) & (found["measure"] == measure) & (found["run"] != "")]
    found = found[(found["component"] == "") & (found["position"] == "")]
    if style.is_share(measure):
        found = found.assign(span=found["span"].fillna(1.0))  # records from elsewhere may not say it
    own: dict[str, list[Any]] = {}
    for record in rows_of(found.sort_values("step_before", kind="stable")):
        own.setdefault(record.run, []).append(record)
    least = spec.min_magnitude
    events = events_of(goal, rows_of(found), direction=spec.direction, min_magnitude=least) if len(goal) else {}
    facts = run_facts(curve).rename(columns={"last": "last_step", "planned": "budget"}).reset_index()
    judged = [_outcome(events.get(str(run), Event()), own.get(str(run), [])) for run in facts["run"]]
    told = pd.DataFrame(judged, columns=["kind", "jumped", "reason", *_NUMBERS])
    columns = ["run", "size", "setting", "seed", "start", "end", "last_step", "budget"]
    return pd.concat([facts[columns], told], axis=1).astype({"run": str, "jumped": bool})


def _outcome(event: Event, records: list[Any]) -> dict[str, Any]:
    """What speaks for the run: its event, else the first of its records."""
    if event.change is None and not records:
        return {"kind": "undetermined", "jumped": False, "reason": "no record of this curve"}
    told = records[0] if event.change is None else event.change
    about = {name: getattr(told, name) for name in ("kind", "reason", *_NUMBERS)}
    if event.change is None:
        about["reason"] = about["reason"] or event.reason
    return {**about, "jumped": event.change is not None}
