"""The engine: the store says what is missing, a pool of processes measures it, every unit on its own.

Nothing here is lost by a kill: a unit's rows are one file, written whole by the worker that made them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import yaml

from interp import files, processes
from interp.engine import provenance
from interp.engine.bench import clear_bench
from interp.engine.checks import check_device, read_experiment
from interp.engine.config import Experiment, resolved
from interp.engine.growing import grow
from interp.engine.profile import add, recording, stage
from interp.engine.units import Unit, expand, needs_of_measure, reach
from interp.engine.worker import cannot_store, measure_units
from interp.errors import InputError
from interp.families import family
from interp.families.store import place
from interp.table import store

TRIES = 3
"""How often a unit is tried when the process that works on it dies (out of memory, say)."""

STRETCH = 8
"""How many units a worker takes at most at a time, where each is compared with the one before it. A choice: a stretch
of n costs n + 1 observations instead of 2 n, and is lost with its worker."""

SILENCE = 600.0
"""Seconds without a result after which that is told. A choice: longer than a checkpoint of the families here takes."""

Log = Callable[[str, float, int], None]


def run_experiment(
    experiment: Experiment | str | Path,
    out: str | Path,
    *,
    root: str | Path | None = None,
    workers: int | None = None,
    shard: tuple[int, int] = (0, 1),
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Grow what is missing, measure what is missing, and leave a run directory.

    Args:
        experiment: an experiment, or the path of its file.
        out: the run directory, made or continued. Damaged files in it are set aside and made again.
        root: where checkpoints are; by default ./checkpoints.
        workers: processes, one torch thread each; by default one a core.
        shard: (i, n): only each n-th unit from the i-th on, for job arrays that share `out`.
        executor: runs the units instead of the built-in pool (any `concurrent.futures.Executor`, such as Dask's). One of
            threads measures one unit after the other: models exchange their weights in place. The table is the same.

    Returns:
        `store.status(out)`: `done` and `units` (counts), `missing` (addresses), `failures` (each with unit, task,
        measure and error), and more.

    Raises:
        InputError: wrong input, before anything is written.
        OSError: the run directory cannot be written; what is done is kept, and the same call goes on from there.
    """
    _check(workers, shard, executor)
    if not isinstance(experiment, Experiment):
        experiment = read_experiment(experiment)
    out = Path(out)
    if executor is None:
        check_device(experiment.device)
    with stage("training"):
        failed = grow(experiment, root=root, workers=workers)
    with stage("planning"):
        units = expand(experiment, root=root, without=failed)
    if not units:
        raise OSError(f"not one run could be grown: {'; '.join(f'{run}: {why}' for run, why in failed.items())}")
    for name in store.heal(out):
        print(f"sweep: {out / name} is damaged: set aside, and made again", file=sys.stderr)
    files.write_yaml(out / "config.yaml", yaml.safe_dump(resolved(experiment), sort_keys=False))
    files.write_json(out / "environment.json", provenance.environment())
    store.write_plan(out, [(unit.address, [result.key for result in unit.results]) for unit in units])

    mine = units[shard[0] :: shard[1]]
    todo = missing(mine, _there(units, out))
    for run in {unit.ref.run for unit in units}:
        store.write_failures(out, run, [])
    for run, why in failed.items():
        told = f"could not be grown, and is left out: {why}"
        store.write_failures(out, run, [{"unit": run, "task": "", "measure": "", "error": told}])
    _tell_failures(experiment, root, out, complete={unit.address for unit in mine} - {unit.address for unit in todo})
    log = _progress(len(todo), len(units), out / "run.log")
    if executor is not None:
        _run_elsewhere(executor, todo, experiment, out, workers, log)
    elif todo:
        _run_in_processes(todo, experiment, out, workers or os.cpu_count() or 1, log)
    return store.status(out)


def missing(units: Sequence[Unit], there: set[str]) -> list[Unit]:
    """The units that still have something to do, each with only the results that are not in the store."""
    left = [replace(u, results=tuple(r for r in u.results if r.key not in there)) for u in units]
    return [unit for unit in left if unit.results]


def _check(workers: int | None, shard: tuple[int, int], executor: Executor | None) -> None:
    """Raises InputError for what no sweep can be run with."""
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
        raise InputError(f"workers is {workers!r}; expected a number of processes, at least 1")
    part, whole = shard
    if not (isinstance(part, int) and isinstance(whole, int) and 0 <= part < whole):
        raise InputError(f"shard is {shard!r}; expected (i, n) with i from 0 to n-1")
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise InputError(f"executor is a {type(executor).__name__}; expected a concurrent.futures.Executor")


def _tell_failures(experiment: Experiment, root: str | Path | None, out: Path, *, complete: set[str]) -> None:
    """No failures of what is complete; one of each checkpoint that is damaged in a family that nobody grows here: its run is
    left out."""
    for address in complete:
        store.write_failures(out, address, [])
    for spec in experiment.families:
        for folder, error in family(spec.name, root=root).damaged.items() if spec.name else ():
            size, setting, seed = folder.parts[-4:-1]
            chosen = ((spec.sizes, size), (spec.settings, setting), (spec.seeds, int(seed.removeprefix("seed"))))
            if all(wanted is None or here in wanted for wanted, here in chosen):
                told = {"unit": place(folder), "task": "", "measure": "", "error": f"{error}; its run is left out"}
                store.write_failures(out, told["unit"], [told])


def _there(units: Sequence[Unit], out: Path) -> set[str]:
    """The keys of what is in the store; of circuits only where their files are there too."""
    held = {f"{file.parent.name}/{file.name}" for file in out.glob("*/*.json")}
    circuits = [result for unit in units for result in unit.results if result.measure is None]
    return store.keys(out) - {result.key for result in circuits if not held.issuperset(result.files)}


def _run_in_processes(todo: Sequence[Unit], experiment: Experiment, out: Path, workers: int, log: Log) -> None:
    """Run the units in a pool; when a process dies, those that were not done go into a new pool, each a few times."""
    for attempt in range(TRIES):
        # A unit that kills its process breaks the whole pool: later attempts isolate it by working one at a time.
        size = min(workers, len(todo)) if attempt == 0 else 1
        stretch = None if attempt == 0 else 1
        with processes.pool(size, script="__main__:" in repr(experiment)) as pool:
            died = _drain(_submitted(pool, todo, experiment, out, size, stretch), out, log)
        todo = missing(died, _there(died, out))
        if not todo:
            return
    _fail(todo, out)


def _run_elsewhere(
    executor: Executor, todo: Sequence[Unit], experiment: Experiment, out: Path, workers: int | None, log: Log
) -> None:
    """Run the units in somebody's executor; what waits in it is cancelled where this is left."""
    futures = _submitted(executor, todo, experiment, out, workers)
    try:
        _fail(_drain(futures, out, log), out)
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    finally:
        clear_bench()  # an executor of threads measured here


def _submitted(
    executor: Executor,
    todo: Sequence[Unit],
    experiment: Experiment,
    out: Path,
    workers: int | None,
    stretch: int | None = None,
) -> dict[Future[list[dict[str, Any]]], list[Unit]]:
    """All units in order, in stretches, each with the checkpoint that its worker will probably be given next."""
    parts = _stretches(todo, experiment, workers or 1, stretch)
    following = [part[0].ref for part in parts[workers:]] if workers else []
    ahead = [*following, *[None] * (len(parts) - len(following))]
    return {
        executor.submit(measure_units, part, experiment, out, after, recording()): part
        for part, after in zip(parts, ahead, strict=True)
    }


def _stretches(
    todo: Sequence[Unit], experiment: Experiment, workers: int, longest: int | None = None
) -> list[list[Unit]]:
    """The units in order; several of one run together where measures compare a checkpoint with the one before it."""
    compares = any(reach(needs_of_measure(measure.name)) for measure in experiment.measures)
    longest = longest or (min(STRETCH, max(1, len(todo) // (4 * workers))) if compares else 1)
    parts: list[list[Unit]] = []
    for unit in todo:
        if parts and len(parts[-1]) < longest and parts[-1][-1].final == unit.final:
            parts[-1].append(unit)
        else:
            parts.append([unit])
    return parts


def _drain(futures: dict[Future[list[dict[str, Any]]], list[Unit]], out: Path, log: Log) -> list[Unit]:
    """Wait for all; returns the units whose process died. Any other exception is that unit's failure.

    Raises:
        OSError: the run directory cannot be written.
    """
    died: list[Unit] = []
    for future in _as_completed(futures):
        units = futures[future]
        try:
            done = future.result()
        except BrokenProcessPool:
            died += units
            continue
        except Exception as error:  # a unit's failure must not stop the others
            if cannot_store(error, out):
                raise
            done = [
                {"failures": [_failure(unit, f"{type(error).__name__}: {error}")], "seconds": 0.0} for unit in units
            ]
        for unit, entry in zip(units, done, strict=True):
            store.write_failures(out, unit.address, entry["failures"])
            log(unit.address, entry["seconds"], len(entry["failures"]))
            add(entry.get("parts", {}))
    return died


def _as_completed(futures: Iterable[Future[Any]]) -> Iterator[Future[Any]]:
    """The futures as they end. A cluster may have lost all its workers, or wait for new ones: silence is told."""
    ended: SimpleQueue[Future[Any]] = SimpleQueue()
    waiting = 0
    for future in futures:
        future.add_done_callback(ended.put)
        waiting += 1
    while waiting:
        try:
            yield ended.get(timeout=SILENCE)
            waiting -= 1
        except Empty:
            told = f"no result for {SILENCE:g} s while {waiting} parts of the work wait: are there workers left?"
            print(f"sweep: {told} Ctrl-C keeps what is done", file=sys.stderr)


def _fail(units: Sequence[Unit], out: Path) -> None:
    for unit in units:
        store.write_failures(out, unit.address, [_failure(unit, "the process that measured it died")])


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
