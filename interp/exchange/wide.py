"""Exports of trackers that have a column a metric (W&B, trackio, Lightning's CSVLogger, a Trainer's log history), as long ones.

An empty cell is a value that was not logged at that step, and gives no row; NaN (also as text, as W&B writes it) was logged
and is not defined, and stays NaN, as does what is infinite.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from interp.errors import InputError, nearest

STEPS = ("trainer/global_step", "train/global_step", "global_step", "step", "Step", "_step")
"""Columns that count steps, the best first: Lightning and transformers log the optimiser's steps under a name of their own,
since W&B's `_step` counts calls of `log`."""

RUNS = ("run", "run_name", "Run", "name", "Name", "run_id")

BESIDE = {
    *STEPS, *RUNS, "_runtime", "_timestamp", "_wandb", "timestamp", "id", "log_id", "space_id", "epoch", "train/epoch",
    "Relative Time (Process)", "Relative Time (Wall)", "Wall Time", "total_flos", "", "index",
}  # fmt: skip
"""Columns that are no metrics: when, where and which."""

FILES = (".csv", ".json", ".jsonl", ".ndjson", ".parquet")


def read_wide(path: Path, *, step: str | None = None) -> pd.DataFrame:
    """The columns run, step, measure, value (and budget, where the file knows it) of one file.

    Without a column of runs the run is the file's name, or in a chart's export what its columns are named by. Metrics that
    are not numbers are left out. What was logged twice at one step counts as it was logged last.

    Raises:
        InputError: a file that is not what its name says, no column of steps, or no number in it.
    """
    frame, about = _frame(path)
    if step is not None and step not in frame.columns:
        raise InputError(f"{path} has no column {step!r} of steps{nearest(step, frame.columns)}")
    at = step or next((name for name in STEPS if name in frame.columns), None)
    if at is None:
        raise InputError(_no_steps(path, frame))
    who = next((name for name in RUNS if name in frame.columns and name != at), None)
    named = f"{path.parent.name}/{path.stem}" if path.stem == "trainer_state" else path.stem
    runs = frame[who].astype(str) if who else pd.Series([about.get("run") or named] * len(frame), index=frame.index)
    steps = pd.to_numeric(frame[at], errors="coerce")
    parts = []
    for column in frame.columns:
        name = str(column)
        if name in BESIDE or column in (at, who) or name.endswith(("__MIN", "__MAX")) or name.startswith("Unnamed:"):
            continue  # the last: pandas' name of a column without one
        if name.endswith(("runtime", "_per_second")):
            continue  # how fast, not what
        value = _numbers(frame[column])
        if value is None:
            continue
        there = value["there"] & steps.notna()
        run, measure = _chart(name, frame.columns)
        part = {"run": runs if run is None else run, "step": steps, "measure": measure, "value": value["value"]}
        parts.append(pd.DataFrame(part, index=frame.index)[there])
    table = pd.concat(parts) if parts else pd.DataFrame(columns=["run", "step", "measure", "value"])
    if table.empty:
        raise InputError(f"{path} holds no number at any step of {at!r}")
    table = table.drop_duplicates(["run", "step", "measure"], keep="last", ignore_index=True)
    return table.assign(budget=about["budget"]) if about.get("budget") else table


def _frame(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A file's cells with a column a metric, and what the file says of the whole."""
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig"), {}
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            texts = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
            return frame.assign(
                **{name: frame[name].astype(object).where(frame[name].notna(), None) for name in texts}
            ), {}
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix != ".json":
            return _columns([json.loads(line) for line in text.splitlines() if line.strip()]), {}
        return _of_json(json.loads(text))
    except (OSError, ValueError, RecursionError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error


def _of_json(found: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows; or a mapping that holds them: trackio's `values` of one metric, a Trainer's `log_history`, columns by name."""
    if isinstance(found, list):
        return _columns(found), {}
    if not isinstance(found, Mapping):
        raise ValueError("neither rows nor columns")
    if isinstance(found.get("log_history"), list):
        budget = found.get("max_steps")
        return _columns(found["log_history"]), {"budget": budget if isinstance(budget, int) and budget > 0 else None}
    if isinstance(found.get("values"), list):
        frame = _columns(found["values"]).rename(columns={"value": str(found.get("metric", "value"))})
        return frame, {"run": found.get("run")}
    return pd.DataFrame({name: pd.Series(values) for name, values in found.items()}), {}


def _columns(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as columns of Python's own objects: what a row lacks is None, and not a NaN that somebody logged."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})


def _no_steps(path: Path, frame: pd.DataFrame) -> str:
    if {"State", "Name"} <= set(frame.columns):
        return f"{path} is a table of runs, with a row a run: export a chart or a run's history, which have steps"
    first = ", ".join(map(str, list(frame.columns)[:6]))
    return f"{path} has no column of steps ({', '.join(STEPS)}); its columns are {first} …: name it with step="


def _numbers(cells: pd.Series) -> dict[str, pd.Series] | None:
    """`value` and whether it is `there`; None where a column holds no numbers."""
    if pd.api.types.is_bool_dtype(cells):
        return None
    if pd.api.types.is_numeric_dtype(cells):
        value = cells.astype(float)
        return {"value": value.where(np.isfinite(value)), "there": cells.notna()}
    plain = [None if isinstance(cell, (dict, list, bool)) else cell for cell in cells]
    text = pd.Series([_text(cell) for cell in plain], index=cells.index, dtype=object)
    value = pd.to_numeric(text, errors="coerce").astype(float)
    named = text.str.lower().isin(["nan", "inf", "-inf", "infinity", "-infinity"])
    there = named | value.notna()
    if not there.any() or (text.ne("") & ~there).sum() > 0.5 * text.ne("").sum():
        return None
    return {"value": value.where(np.isfinite(value)), "there": there}


def _text(cell: Any) -> str:
    """A cell as text; "" where nothing was logged."""
    if cell is None or cell is pd.NA:
        return ""
    return "nan" if isinstance(cell, float) and math.isnan(cell) else str(cell).strip()


def _chart(column: str, columns: pd.Index) -> tuple[str | None, str]:
    """The run and the metric of a column of a chart's export, `run - metric`; else no run."""
    run, dash, metric = column.rpartition(" - ")
    return (run, metric) if dash and f"{column}__MIN" in columns else (None, column)
