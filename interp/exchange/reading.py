"""Logs of trackers as tables: which reader a file or folder asks for, and what its numbers are called."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from interp.errors import InputError, nearest
from interp.exchange.events import MARK, read_events
from interp.exchange.wide import FILES, STEPS, read_wide
from interp.table import REQUIRED, read_table

STATE = "trainer_state.json"


def read_logs(
    source: str | Path, *, task: str = "log", behaviour: Sequence[str] = (), step: str | None = None
) -> pd.DataFrame:
    """What a tracker kept of training runs, as a table that every judge here takes (`find_jumps`, `rank_leads`,
    `prevalence`): a row a value.

    source: a TensorBoard folder or event file (a run a folder, named as TensorBoard names it); a chart's or a run's export
        from Weights & Biases, `trackio`'s or any other CSV, JSON, JSON lines or Parquet with a column of steps and a column a
        metric; a transformers Trainer's output folder or `trainer_state.json` (which knows the planned steps); or a folder of
        such files, each a run.
    task: what the curves are of; one for all, since indicators and behaviours are compared within a task.
    behaviour: patterns (`eval/*`) of the metrics that say what the model can do; the others are indicators. Without, there
        is no column `kind`: all count as behaviour, and leads cannot be ranked.
    step: the column of steps, where it is not one of those that the trackers use.

    A measure is called what the tracker called it. Nothing logged at a step is no row; a NaN or infinite value is NaN.

    Raises:
        InputError: nothing there that a tracker wrote; a damaged file; a pattern that no metric answers to.
    """
    path = Path(source)
    if not path.exists():
        raise InputError(f"no logs at {str(path)!r}")
    found = _tensorboard(path) if _events(path) else _exports(path, step)
    table = found.assign(task=task)
    if behaviour:
        table["kind"] = _kinds(table["measure"], behaviour)
    return read_table(table)[[*REQUIRED, *(name for name in ("kind", "budget", "unit") if name in table)]]


def is_log(source: str | Path) -> bool:
    """Whether a path is a tracker's log and not a table, a run directory or a folder of evaluation logs."""
    path = Path(source)
    if not path.exists() or (path / "shards").is_dir():
        return False
    if _events(path) or _state(path):
        return True
    if path.suffix == ".csv" and path.is_file():
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = {name.strip().strip('"') for name in file.readline().split(",")}
        return not set(REQUIRED) <= header and ("measure" not in header) and bool(header.intersection(STEPS))
    return path.suffix in (".jsonl", ".ndjson")


def _events(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if MARK in path.name else []
    return sorted(file for file in path.rglob(f"*{MARK}*") if file.is_file())


def _state(path: Path) -> Path | None:
    """The state that a Trainer wrote last."""
    if path.is_file():
        return path if path.name == STATE else None
    found = [path / STATE, *sorted(path.glob(f"checkpoint-*/{STATE}"), key=lambda file: _count(file.parent.name))]
    return next((file for file in reversed(found) if file.is_file()), None)


def _count(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else -1


def _tensorboard(source: Path) -> pd.DataFrame:
    """The last value written at each step: a run that was begun again writes a second file into the folder."""
    rows = []
    for file in _events(source):
        inside = file.parent.relative_to(source).as_posix() if source.is_dir() else "."
        run = inside if inside != "." else file.resolve().parent.name or "run"
        rows += [(run, found.step, found.tag, found.value, found.time) for found in read_events(file)]
    if not rows:
        raise InputError(f"{source} holds no scalar of TensorBoard (histograms, images and text are not read)")
    frame = pd.DataFrame(rows, columns=["run", "step", "measure", "value", "time"])
    frame = frame.sort_values("time", kind="stable").drop_duplicates(["run", "step", "measure"], keep="last")
    frame["value"] = frame["value"].where(np.isfinite(frame["value"]))
    return frame.drop(columns="time").sort_values(["run", "measure", "step"], ignore_index=True)


def _exports(path: Path, step: str | None) -> pd.DataFrame:
    state = _state(path)
    if state is not None:
        run = (state.parent.parent if state.parent.name.startswith("checkpoint-") else state.parent).resolve().name
        return read_wide(state, step=step).assign(run=run)
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.suffix in FILES)
    if not files or files[0].suffix not in FILES:
        raise InputError(
            f"{str(path)!r} is no tracker's log: expected TensorBoard's *{MARK}*, {STATE}, or {', '.join(FILES)}"
        )
    parts: list[pd.DataFrame] = []
    skipped: dict[Path, InputError] = {}
    for file in files:
        try:
            parts.append(read_wide(file, step=step))
        except InputError as error:
            skipped[file] = error
    if not parts:
        raise next(iter(skipped.values()))
    for file, reason in skipped.items():
        warnings.warn(f"skipped {file.name}: {reason}", stacklevel=3)
    return _joined(parts)


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """One frame. (A run's metrics may lie in several files: trackio gives one a metric.)"""
    frame = pd.concat(parts, ignore_index=True)
    return frame.drop_duplicates(["run", "step", "measure"], keep="last", ignore_index=True)


def _kinds(measures: pd.Series, patterns: Sequence[str]) -> pd.Series:
    names = measures.unique()
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(f"no metric answers to behaviour {pattern!r}{nearest(pattern, names)}")
    said = {name: any(fnmatchcase(name, pattern) for pattern in patterns) for name in names}
    return measures.map(lambda name: "behaviour" if said[name] else "indicator")
