"""One unit of a sweep, in the process that measures it: load, observe, measure, write the rows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from errno import EACCES, EDQUOT, EFBIG, ENOSPC, EPERM, EROFS
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp import files
from interp.engine.bench import Bench, at_bench, measures_of
from interp.engine.config import Experiment, TaskSpec
from interp.engine.profile import profiling, stage
from interp.engine.units import Result, Unit
from interp.families import ledger
from interp.table import store
from interp.types import CheckpointRef

if TYPE_CHECKING:
    from interp.circuits import Circuit
    from interp.models import Model

NO_ROOM = (ENOSPC, EDQUOT, EFBIG, EROFS)
NO_RIGHT = (EACCES, EPERM)


def measure_units(
    units: Sequence[Unit],
    experiment: Experiment,
    out: Path,
    ahead: CheckpointRef | None = None,
    profiled: bool = False,
) -> list[dict[str, Any]]:
    """Measure what each unit wants and append it to the store; returns for each what failed, the seconds it took and, where
    it is `profiled`, the processor time of its parts.

    ahead: a checkpoint that this process is likely to be given next: it is fetched and read meanwhile.

    Raises:
        OSError: what was measured cannot be stored (a full disk, say): no other unit could be either.
    """
    following = [*[unit.ref for unit in units[1:]], ahead]
    with at_bench(experiment, out) as bench, _exact_thread():
        ledger.limit_disk(experiment.disk_budget_gb)
        return [_measured(unit, bench, after, profiled) for unit, after in zip(units, following, strict=True)]


def _measured(unit: Unit, bench: Bench, after: CheckpointRef | None, profiled: bool) -> dict[str, Any]:
    started = time.monotonic()
    bench.ahead.expect(unit.ref, after)
    with profiling(profiled) as profile:
        try:
            rows, failures = _measure_unit(unit, bench)
            if rows:
                with stage("store"):
                    store.append(bench.out, rows)
        except Exception as error:  # a unit's failure must not stop the others
            if cannot_store(error, bench.out):
                raise
            failures = [{"unit": unit.address, "task": "", "measure": "", "error": f"{type(error).__name__}: {error}"}]
    seconds, parts = time.monotonic() - started, profile.seconds if profile else {}
    return {"failures": failures, "seconds": seconds, "parts": parts}


def cannot_store(error: Exception, out: Path) -> bool:
    """Whether an error says that the run directory takes no more: no other unit can be stored either."""
    if not isinstance(error, OSError):
        return False
    ours = error.filename is not None and Path(error.filename).is_relative_to(out)
    return error.errno in NO_ROOM or (error.errno in NO_RIGHT and ours)


@contextmanager
def _exact_thread() -> Iterator[None]:
    """One torch thread, gradients on where they are asked for, and denormals flushed to zero (they slow small gradients
    down several-fold on a CPU), in the thread that measures, whoever's executor it is; left as found."""
    import torch

    threads, flushes = torch.get_num_threads(), bool((torch.tensor(1e-40) * 1.0) == 0)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        with torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushes)


def _measure_unit(unit: Unit, bench: Bench) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows and failures of all tasks. What lies beside the checkpoint is looked at for all of them first, so that the
    model holds the unit's own weights from then on."""
    wanted = {index: [r for r in unit.results if r.task == index] for index in range(len(bench.experiment.tasks))}
    wanted = {index: results for index, results in wanted.items() if results}
    beside: dict[int, Any] = {}
    for index, results in wanted.items():
        try:
            beside[index] = bench.compared(unit, index, results)
        except Exception as error:  # a task's failure must not stop the others
            beside[index] = error
    rows: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    errors: list[Exception] = []
    for index, results in wanted.items():
        try:
            if isinstance(beside[index], Exception):
                raise beside[index]
            found, failed = _measure_task(unit, index, results, bench, beside[index])
        except Exception as error:
            if cannot_store(error, bench.out):
                raise
            errors.append(error)
            found, failed = [], [{"measure": "", "error": f"{type(error).__name__}: {error}"}]
        rows += found
        label = bench.experiment.tasks[index].label
        failures += [{"unit": unit.address, "task": label, **failure} for failure in failed]
    if len(errors) == len(failures) > 0 and not rows and len(set(map(str, errors))) == 1:
        raise errors[0]  # not a task's fault: the checkpoint's
    return rows, failures


def _measure_task(
    unit: Unit, index: int, wanted: Sequence[Result], bench: Bench, beside: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    from interp.measure.observe import measure

    spec, measures = bench.experiment.tasks[index], measures_of(wanted)
    rows: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    if measures:
        obs = bench.observe(unit, index, wanted, beside)
        for result, entry in zip([r for r in wanted if r.measure is not None], measures, strict=True):
            with stage(f"measure {entry[0]}"):
                found, failed = measure(obs, [entry])
            rows += [{**row, "key": result.key} for row in found]
            failures += failed
    for result in wanted:
        if result.measure is None:
            circuit, trial = bench.circuit(unit.ref, spec), bench.formation(unit.ref, spec)
            if unit.before is not None:
                _try_the_one_before(unit.ref, unit.before, spec, bench, bench.out / result.files[-1])
            rows += [{**row, "key": result.key} for row in [*_circuit_rows(circuit), *_formation_rows(trial)]]
    about = _about(unit.ref, spec, bench.model_at(unit.ref))
    return [{**about, **row, "task": _label(spec, row.get("group"))} for row in rows], failures


def _try_the_one_before(ref: CheckpointRef, before: CheckpointRef, spec: TaskSpec, bench: Bench, path: Path) -> None:
    """Keeps which prompts the circuit of the checkpoint before still carries."""
    import numpy as np

    from interp.circuits.formation.track import still_carried

    if path.is_file():
        return
    old, now = bench.chosen_circuit(before, spec), bench.chosen_circuit(ref, spec)
    carried = np.array(bench.formation(ref, spec)["carried"], dtype=bool)
    found = still_carried(bench.model_at(ref), bench.circuit_prompts(ref, spec), old, now, carried)
    files.write_json(path, {"inherited": found.astype(int).tolist()})


def _label(spec: TaskSpec, group: str | None) -> str:
    """What the table calls the task, or a group of its questions."""
    return f"{spec.label}/{group}" if group else spec.label


def _about(ref: CheckpointRef, spec: TaskSpec, model: Model) -> dict[str, Any]:
    """The columns that all rows of a checkpoint and task share."""
    return {
        "run": ref.run,
        "family": ref.family,
        "size": ref.size,
        "setting": f"{ref.size}/{ref.setting}",
        "seed": ref.seed,
        "step": ref.step,
        "tokens": ref.tokens,
        "budget": ref.manifest.get("budget"),
        "n_params": sum(parameter.numel() for parameter in model.module.parameters()),
        "task": spec.label,
    }


def _circuit_rows(circuit: Circuit) -> list[dict[str, Any]]:
    """One row a scored node, named by its component; the measure is named after the method."""
    return [
        {
            "measure": circuit.method,
            "component": component,
            "value": value,
            "unit": circuit.metric,
            "kind": "indicator",
            "online": True,
            "cost": circuit.about.get("passes"),
        }
        for component, value in circuit.node_scores().items()
        if not math.isnan(value)
    ]


def _formation_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The share of prompts that the circuit carries, how many edges it needs, and its heads' roles; a role's measure
    is the score of the head that has most of it, whichever that is."""
    n = len(found["carried"])
    share = sum(found["carried"]) / n
    error = math.sqrt(share * (1 - share) / n)
    rows = [
        {"measure": "circuit_carried", "value": share, "unit": "share", "stderr": error, "n": n},
        {"measure": "circuit_edges", "value": len(found["edges"]) or math.nan, "unit": "edges"},
        *({"measure": f"role_{role}", "value": score, "unit": "share"} for role, (_, score) in found["roles"].items()),
    ]
    costs = {"circuit_carried": found["passes"], "circuit_edges": found["passes"]}
    common = {"component": "", "kind": "indicator", "online": True}
    return [{**common, **row, "cost": costs.get(str(row["measure"]), 1.0)} for row in rows]
