"""A whole family at once: one process a core, one run after another in each."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from interp import processes
from interp.errors import InputError
from interp.families.planned import PlannedRun, load_recipe, planned_runs
from interp.families.recipe import Recipe

Only = tuple[Sequence[str] | None, Sequence[str] | None, Sequence[int] | None]
_POLL_SECONDS = 5.0


def train(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    root: str | Path | None = None,
    workers: int | None = None,
    only: Only = (None, None, None),
    progress: bool = True,
) -> list[str]:
    """Grows the runs of a recipe that are not complete in the store; returns the names of those that failed.

    A run's checkpoints are the same bytes whatever is trained beside it, with any number of workers, and after any
    number of interruptions. Why a run failed is told on stderr; the others go on.

    Args:
        root: the store (default: $INTERP_CHECKPOINTS, else ./checkpoints).
        workers: processes, one torch thread each; at most, and by default, one a core.
        only: the sizes, settings and seeds to grow, None for all.
        progress: a line on stderr every few seconds.

    Raises:
        InputError: the recipe is wrong, or a run's folder holds checkpoints of another one. Nothing is trained then.
    """
    return list(grow_runs(recipe, root=root, workers=workers, only=only, progress=progress))


def grow_runs(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    root: str | Path | None = None,
    workers: int | None = None,
    only: Only = (None, None, None),
    progress: bool = True,
) -> dict[str, str]:
    """As `train`; the names of the runs that failed, with the reason."""
    from interp.families.store import store_root

    store = store_root(root)
    recipe = load_recipe(recipe)
    runs = planned_runs(recipe, sizes=only[0], settings=only[1], seeds=only[2])
    pending = _pending(runs, store)
    if not pending:
        return {}
    _check_models(pending)
    n_workers = min(workers or n_cores(), n_cores(), len(pending))
    report = _reporter(total=len(runs), pending=pending, store=store) if progress else lambda: None
    failed = _grow_all(pending, store, n_workers, report)
    for run, why in failed.items():
        print(f"training: {run.name} failed: {why}", file=sys.stderr)
    return {run.name: why for run, why in failed.items()}


def refuse_ungrowable(
    recipe: str | Path | Mapping[str, Any] | Recipe, *, root: str | Path | None = None, only: Only = (None, None, None)
) -> str:
    """The family's name; raises InputError where `train` would, and trains nothing."""
    from interp.families.store import store_root
    from interp.training.checkpoint import missing_steps, refuse_other_recipe

    recipe, store = load_recipe(recipe), store_root(root)
    runs = planned_runs(recipe, sizes=only[0], settings=only[1], seeds=only[2])
    for run in runs:
        refuse_other_recipe(store, run)
    _check_models([run for run in runs if missing_steps(store, run)])
    return recipe.name


def n_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pending(runs: Sequence[PlannedRun], store: Path) -> list[PlannedRun]:
    from interp.training.checkpoint import has_damage, missing_steps, refuse_other_recipe

    for run in runs:
        refuse_other_recipe(store, run)
    return [run for run in runs if missing_steps(store, run) or has_damage(store, run)]


def _check_models(runs: Sequence[PlannedRun]) -> None:
    """Raises InputError for a model that cannot be built, before a process is started for it."""
    from interp.models import native

    for run in {json.dumps(run.model, sort_keys=True): run for run in runs}.values():
        if run.model["architecture"] != native.ARCHITECTURE:
            raise InputError(
                f"{run.name}: recipes grow models of architecture 'native', not {run.model['architecture']!r}"
            )
        try:
            native.check(run.model)
        except InputError as error:
            raise InputError(f"{run.name}: {error}") from None


def _grow_all(
    pending: Sequence[PlannedRun], store: Path, n_workers: int, report: Callable[[], None]
) -> dict[PlannedRun, str]:
    """Runs that failed, with the reason. Where a process dies it takes its pool along: what is left runs one by one."""
    outcome = _pool(pending, store, n_workers, report)
    for run in [run for run, error in outcome.items() if isinstance(error, BrokenProcessPool)]:
        outcome |= _pool([run], store, 1, report)
    return {run: _reason(error) for run, error in outcome.items() if error is not None}


def _pool(
    runs: Sequence[PlannedRun], store: Path, n_workers: int, report: Callable[[], None]
) -> dict[PlannedRun, BaseException | None]:
    script = any(run.task["name"].startswith("__main__:") for run in runs)
    with processes.pool(n_workers, script=script) as pool:
        futures: dict[Future[None], PlannedRun] = {pool.submit(_grow, run, store): run for run in runs}
        waiting = set(futures)
        while waiting:
            _, waiting = wait(waiting, timeout=_POLL_SECONDS)
            report()
    return {run: future.exception() for future, run in futures.items()}


def _grow(run: PlannedRun, store: Path) -> None:
    from interp.training.grow import grow

    grow(run, store)


def _reason(error: BaseException) -> str:
    if isinstance(error, BrokenProcessPool):
        return "its process died (killed, or out of memory)"
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _reporter(*, total: int, pending: Sequence[PlannedRun], store: Path) -> Callable[[], None]:
    """A function that writes one line on stderr: what the store holds now, and about how long the rest will take."""
    planned = sum(run.steps for run in pending)
    started, at_start = time.monotonic(), sum(_stored_step(run, store) for run in pending)
    last = ""

    def report() -> None:
        nonlocal last
        stored = [(run, _stored_step(run, store)) for run in pending]
        done, steps = sum(step == run.steps for run, step in stored), sum(step for _, step in stored)
        under_way = [
            f"{run.size}/{run.setting}/seed{run.seed} {step}/{run.steps}"
            for run, step in stored
            if 0 < step < run.steps
        ]
        n_done = total - len(pending) + done
        text = f"{pending[0].family}: {n_done} of {total} runs, {100 * steps // planned} % of the steps"
        if text + str(under_way) == last:
            return
        last = text + str(under_way)
        if at_start < steps < planned:
            left = (time.monotonic() - started) * (planned - steps) / (steps - at_start)
            text += f", about {left / 60:.0f} min left" if left > 90 else f", about {left:.0f} s left"
        print("; ".join([text, *under_way[:4]]), file=sys.stderr, flush=True)

    return report


def _stored_step(run: PlannedRun, store: Path) -> int:
    """The last step that has a manifest."""
    steps = (path.parent.name.removeprefix("step") for path in run.folder(store).glob("step*/manifest.json"))
    return max((int(step) for step in steps if step.isdigit()), default=0)
