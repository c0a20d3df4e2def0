"""One row a curve: what became of it, what it belongs to, and what may moderate it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from interp.table.events import Change, Event, events_of, sign_of

FOUND = ("abrupt", "gradual", "artefact", "none", "undetermined")
"""What a curve can be found to be. A spike is no change that lasts: none."""

DISCONTINUOUS = ("exact_match", "accuracy", "acc", "acc_norm", "em", "f1", "bleu", "pass", "top1", "correct")
_SCAN = re.compile(r"^(?P<skill>[^\[]+)\[(?P<cell>[^\]]+)\]$")
_SHOTS = re.compile(r"/(\d+)shot")


def curve_rows(
    table: pd.DataFrame, jumps: Iterable[Change], *, direction: str | None, min_magnitude: float
) -> pd.DataFrame:
    """run, task, measure, family, seed (the run where the table gives no seed), found (of FOUND), midpoint, width,
    magnitude and span of the event, and one column for every moderator that the table tells.

    The event is everybody's (`interp.table.events`). Without one a curve is undetermined where it could not be judged,
    or where a change for the better was seen in part: begun before the second checkpoint, or under way at the last.
    """
    goal = table[(table["kind"] == "behaviour") & (table["component"] == "") & (table["position"] == "")]
    goal = goal[goal["value"].notna()].sort_values("step", kind="stable")
    own: dict[tuple[str, str], list[Change]] = {}
    for change in jumps:
        own.setdefault((str(change.task), str(change.measure)), []).append(change)
    rows = []
    for (task, measure), part in goal.groupby(["task", "measure"], sort=True, observed=True):
        changes = own.get((str(task), str(measure)), [])
        events = events_of(part, changes, direction=direction, min_magnitude=min_magnitude)
        sign = sign_of(str(measure), direction)
        judged: dict[str, list[Change]] = {}
        for change in changes:
            judged.setdefault(str(change.run), []).append(change)
        for run, event in events.items():
            rows.append({"run": run, "task": str(task), "measure": str(measure), "sign": sign}
                        | _fate(event, judged.get(run, [])))  # fmt: skip
    return pd.DataFrame(rows).merge(_facts(goal, table.attrs["given"]), on=["run", "task", "measure"], how="left")


def _fate(event: Event, changes: list[Change]) -> dict[str, Any]:
    change = event.change
    span = next((float(c.span) for c in changes if c.span == c.span and c.span is not None), np.nan)
    if change is not None:
        return {"found": str(change.kind), "midpoint": float(np.log10(change.midpoint)), "span": span,
                "width": float(change.width_decades), "magnitude": abs(float(change.magnitude))}  # fmt: skip
    partly = any(word in event.reason for word in ("under way", "past the budget"))
    unjudged = not changes or any(c.kind == "undetermined" and c.step_before in (None, "") for c in changes)
    found = "undetermined" if partly or unjudged else "none"
    return {"found": found, "midpoint": np.nan, "span": span, "width": np.nan, "magnitude": np.nan}


def _facts(goal: pd.DataFrame, given: list[str]) -> pd.DataFrame:
    """What each curve belongs to, with moderators: every column that a curve has one value of, and those that names and
    values tell."""
    keys = ["run", "task", "measure"]
    grouped = goal.groupby(keys, observed=True, sort=False)
    rest = [name for name in goal.columns if name not in (*keys, "step", "value", "stderr", "component", "position")]
    facts = grouped[rest].first()
    single = [name for name in rest if (grouped[name].nunique(dropna=False) <= 1).all()]
    facts = facts[[*dict.fromkeys([*single, "family", "seed"])]].reset_index()
    facts["start"] = grouped["value"].first().to_numpy()
    facts["seed"] = facts["seed"].astype(str) if "seed" in given else facts["run"]
    facts["metric_kind"] = np.where(facts["measure"].map(_discontinuous), "discontinuous", "continuous")
    cells = [_SCAN.match(task) for task in facts["task"]]
    if any(cells):
        facts["skill"] = [cell["skill"] if cell else task for cell, task in zip(cells, facts["task"], strict=True)]
        for name in dict.fromkeys(name for task in facts["task"].unique() for name in scan_parameters(task)):
            if name not in facts or facts[name].isna().all():  # `n` is a column of the contract, and may be a parameter
                facts[name] = [scan_parameters(task).get(name, "") for task in facts["task"]]
    else:
        facts["suite"] = facts["task"].str.partition("-")[0].str.partition(":")[0]
    if "shots" not in facts:
        shots = facts["task"].str.extract(_SHOTS, expand=False)
        facts["shots"] = pd.to_numeric(shots).fillna(0).astype(int)
    if "chance" not in facts:
        facts["chance"] = np.where(facts["metric_kind"] == "discontinuous", facts["start"].round(2), np.nan)
    if "answer_length" not in facts:
        facts["answer_length"] = _lengths(goal, facts)
    return facts


def _discontinuous(measure: str) -> bool:
    return any(word in measure.lower() for word in DISCONTINUOUS)


def scan_parameters(task: str) -> dict[str, str]:
    """The parameters in the label of a scan's cell: `addition[n_digits=3,order=plain]`; empty for any other name."""
    cell = _SCAN.match(task)
    pairs = (pair.partition("=") for pair in cell["cell"].split(",")) if cell else ()
    return {name: value for name, _, value in pairs}


def _lengths(goal: pd.DataFrame, facts: pd.DataFrame) -> np.ndarray:
    """Tokens an answer of each task: `log_prob` over `log_prob_per_token` at their last common checkpoint."""
    two = [goal[goal["measure"] == name].set_index(["run", "task", "step"])["value"] for name in
           ("log_prob", "log_prob_per_token")]  # fmt: skip
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (two[0] / two[1]).replace([np.inf, -np.inf], np.nan).dropna()
    return facts["task"].map(ratio.groupby("task").median().round()).to_numpy(float)


def levels(values: pd.Series, most: int = 8) -> pd.Series:
    """A moderator as groups: its own values where they are few, else quarters of a numeric one. Missing is missing."""
    known = values[values.notna() & (values.astype(str) != "")]
    numbers = pd.to_numeric(known, errors="coerce")
    if len(known) and numbers.notna().all():
        if numbers.nunique() > most:
            ends = np.unique(numbers.quantile([0, 0.25, 0.5, 0.75, 1]))
            place = np.clip(np.searchsorted(ends, numbers, side="left"), 1, len(ends) - 1)
            names = [f"{ends[k - 1]:.3g} to {ends[k]:.3g}" for k in place]
            return pd.Series(names, index=known.index).reindex(values.index)
        return numbers.map(lambda x: f"{x:.6g}").reindex(values.index)
    return known.astype(str).reindex(values.index)
