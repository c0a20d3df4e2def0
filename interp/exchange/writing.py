"""A table into a tracker: TensorBoard's event files (written here), or a run of Weights & Biases or trackio."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from interp.errors import InputError, nearest
from interp.exchange.events import MARK, Scalar, write_events
from interp.table import read_table

TRACKERS = ("tensorboard", "wandb", "trackio")


def write_logs(table: str | Path | pd.DataFrame, to: Any, *, run: str | None = None) -> int:
    """Gives a tracker the values of a table, and says how many.

    table: anything `interp.read_table` reads.
    to: "tensorboard:FOLDER" (a folder a run; TensorBoard need not be installed; float32, as its scalars are),
        "wandb:PROJECT" or "trackio:PROJECT" (a run a run, by the package the user has), or an object that is open already:
        a run with `.log({name: value}, step=…)`, or a SummaryWriter with `.add_scalar(name, value, step)`.
    run: only this one. A table of several runs needs a name of the first kind, or this.

    A value's name is task/measure, with component and position behind it where there are some. A value that is not defined
    is not given.

    Raises:
        InputError: a tracker that is not there, several runs for one open object, a run that the table lacks.
    """
    frame = read_table(table)
    runs = list(frame["run"].unique())
    if run is not None:
        if run not in runs:
            raise InputError(f"the table has no run {run!r}{nearest(run, runs)}")
        runs = [run]
    frame = frame[frame["run"].isin(runs) & frame["value"].notna()]
    if isinstance(to, str):
        kind, colon, where = to.partition(":")
        if kind not in TRACKERS or not colon or not where:
            raise InputError(f"cannot write to {to!r}: expected tensorboard:FOLDER, wandb:PROJECT or trackio:PROJECT")
        for name in runs:
            _write_run(kind, where, str(name), frame[frame["run"] == name])
    else:
        if len(runs) > 1:
            raise InputError(f"the table has {len(runs)} runs, and one tracker's run is open: say which with run=")
        _give(to, frame)
    return len(frame)


def _write_run(kind: str, where: str, run: str, frame: pd.DataFrame) -> None:
    if kind == "tensorboard":
        folder = Path(where) / re.sub(r"[^\w.=/@+-]|\.\.", "_", run).strip("/")
        now = time.time()
        scalars = (Scalar(name, step, value, now) for step, values in _by_step(frame) for name, value in values.items())
        write_events(folder / f"events.out{MARK}{int(now)}.interp", scalars)
        return
    try:
        package: Any = __import__(kind)
    except ImportError as error:
        raise InputError(f"{kind}:{where} needs the package: pip install {kind}") from error
    facts = {name: str(frame[name].iloc[0]) for name in ("family", "size", "setting", "seed") if len(frame)}
    opened = package.init(project=where, name=run, config=facts)
    try:
        _give(opened, frame)
    finally:
        package.finish()


def _give(to: Any, frame: pd.DataFrame) -> None:
    add, log = getattr(to, "add_scalar", None), getattr(to, "log", None)
    if not callable(add) and not callable(log):
        raise InputError(f"{type(to).__name__} is no tracker: it has neither .log nor .add_scalar")
    for step, values in _by_step(frame):
        if callable(add):
            for name, value in values.items():
                add(name, value, step)
        elif callable(log):
            log(values, step=step)


def _by_step(frame: pd.DataFrame) -> Iterator[tuple[int, dict[str, float]]]:
    """Steps upwards (W&B takes no step twice), each with its values by name."""
    names = [
        "/".join(filter(None, (task, measure, component, f"token {position}" if position else "")))
        for task, measure, component, position in zip(
            *(frame[column] for column in ("task", "measure", "component", "position")), strict=True
        )
    ]
    for step, part in frame.assign(name=names).groupby("step", sort=True):
        yield int(step), dict(zip(part["name"], part["value"].astype(float), strict=True))  # type: ignore[arg-type]
