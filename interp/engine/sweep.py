"""The engine: the store says what is missing, a pool of processes measures it, every unit on its own.

Nothing here is lost by a kill: a unit's rows are one file, written whole by the worker that made them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from interp import files
from interp.engine import provenance
from interp.engine.config import Experiment, resolved
from interp.engine.units import Unit, expand
from interp.engine.worker import measure_unit
from interp.table import store

TRIES = 3
"""How often a unit is tried when the process that works on it dies (out of memory, say)."""

Log = Callable[[str, float, int], None]


def run_experiment(
    experiment: Experiment,
    out: str | Path,
    *,
    root: str | Path | None = None,
    workers: int | None = None,
    shard: tuple[int, int] = (0, 1),
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Grow what is missing, measure what is missing, and leave a run directory; returns `store.status(out)`.

    Args:
        out: the run directory, made or continued.
        root: where checkpoints are; by default ./checkpoints.
        workers: processes, one torch thread each; by default one a core.
        shard: (i, n): only each n-th unit from the i-th on, for job arrays that share `out`.
        executor: runs the units instead of the built-in pool (any `concurrent.futures.Executor`, such as Dask's); it
            has `workers` of them, where each is to fetch its next checkpoint while it measures one.
    """
    out = Path(out)
    units = expand(experiment, root=root, workers=workers)
    for name in store.heal(out):
        print(f"sweep: {out / name} is damaged: set aside, and made again", file=sys.stderr)
    files.write_yaml(out / "config.yaml", yaml.safe_dump(resolved(experiment), sort_keys=False))
    files.write_json(out / "environment.json", provenance.environment())
    store.write_plan(out, [(unit.address, [result.key for result in unit.results]) for unit in units])

    todo = missing(units[shard[0] :: shard[1]], store.keys(out) - _lost(units, out))
    log = _progress(len(todo), len(units), out / "run.log")
    if executor is not None:
        _drain(_submit(executor, todo, experiment, out, workers), out, log)
    elif todo:
        _run_in_processes(todo, experiment, out, workers or os.cpu_count() or 1, log)
    return store.status(out)


def missing(units: Sequence[Unit], there: set[str]) -> list[Unit]:
    """The units that still have something to do, each with only the results that are not in the store."""
    left = [replace(u, results=tuple(r for r in u.results if r.key not in there)) for u in units]
    return [unit for unit in left if unit.results]


def _lost(units: Sequence[Unit], out: Path) -> set[str]:
    """The keys of circuits whose rows are in the store, and whose files are not."""
    circuits = {result.key for unit in units for result in unit.results if result.measure is None}
    there = {folder: {file.stem for file in (out / folder).glob("*.json")} for folder in ("circuits", "formation")}
    return circuits - (there["circuits"] & there["formation"])


def _run_in_processes(todo: Sequence[Unit], experiment: Experiment, out: Path, workers: int, log: Log) -> None:
    """Run the units in a pool; when a process dies, those that were not done go into a new pool, each a few times."""
    for attempt in range(TRIES):
        # A unit that kills its process breaks the whole pool: later attempts isolate it by working one at a time.
        size = min(workers, len(todo)) if attempt == 0 else 1
        pool = ProcessPoolExecutor(size, mp_context=get_context("spawn"))
        try:
            todo = _drain(_submit(pool, todo, experiment, out, size), out, log)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if not todo:
            return
    for unit in todo:
        store.write_failures(out, unit.address, [_failure(unit, "the process that measured it died")])


def _submit(
    executor: Executor, todo: Sequence[Unit], experiment: Experiment, out: Path, workers: int | None
) -> dict[Future[dict[str, Any]], Unit]:
    """All units in order, each with the checkpoint that its worker will probably be given next: `workers` later."""
    ahead = [unit.ref for unit in todo[workers:]] if workers else []
    pairs = zip_longest(todo, ahead)
    return {executor.submit(measure_unit, unit, experiment, out, following): unit for unit, following in pairs}


def _drain(futures: dict[Future[dict[str, Any]], Unit], out: Path, log: Log) -> list[Unit]:
    """Wait for all; returns the units whose process died. Any other exception is that unit's failure."""
    died = []
    for future in as_completed(futures):
        unit = futures[future]
        try:
            done = future.result()
            failures = done["failures"]
            seconds = done["seconds"]
        except BrokenProcessPool:
            died.append(unit)
            continue
        except Exception as error:  # a unit's failure must not stop the others
            failures, seconds = [_failure(unit, f"{type(error).__name__}: {error}")], 0.0
        store.write_failures(out, unit.address, failures)
        log(unit.address, seconds, len(failures))
    return died


def _failure(unit: Unit, error: str) -> dict[str, str]:
    return {"unit": unit.address, "task": "", "measure": "", "error": error}


def _progress(n_todo: int, n_units: int, path: Path) -> Log:
    """A line on stderr that is rewritten (a terminal) or repeated now and then (a file), and every unit in the log. The
    time left goes by the units after the first, which pays for the start."""
    started, count, shown = 0.0, 0, 0.0
    print(f"sweep: {n_units} checkpoints, {n_units - n_todo} already measured, {n_todo} to do", file=sys.stderr)
    live = sys.stderr.isatty()

    def log(address: str, seconds: float, n_failed: int) -> None:
        nonlocal started, count, shown
        count += 1
        with path.open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {address} {seconds:.2f}s failed={n_failed}\n")
        now = time.monotonic()
        started = started or now
        if count == n_todo or now - shown > (0.2 if live else 15):
            shown = now
            left = f" about {(now - started) / (count - 1) * (n_todo - count):.0f} s left" if count > 1 else ""
            end = "\r" if live and count < n_todo else "\n"
            print(f"sweep: {count}/{n_todo} {address}{left}".ljust(90), end=end, file=sys.stderr)
            sys.stderr.flush()

    return log
