"""One unit of a sweep, in the process that measures it: load, observe, measure, write the rows."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp import files, plugins, seeds
from interp.engine.config import Experiment, TaskSpec
from interp.engine.units import COMPARED, Result, Unit, circuit_key, task_of
from interp.errors import InputError
from interp.families import ledger
from interp.families.ahead import ReadAhead
from interp.table import store
from interp.types import CheckpointRef

if TYPE_CHECKING:
    from interp.circuits import Circuit
    from interp.measure.observe import Observation
    from interp.models import Model
    from interp.types import Prompts, Task

Measure = tuple[str, Mapping[str, Any]]


def _prepare() -> None:
    """One torch thread, and denormals flushed to zero (in the thread that measures, whoever's executor it is): they
    slow small gradients down several-fold on a CPU."""
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def measure_unit(unit: Unit, experiment: Experiment, out: Path, ahead: CheckpointRef | None = None) -> dict[str, Any]:
    """Measure what the unit wants and append it to the store; returns what failed and the seconds it took.

    ahead: a checkpoint that this process is likely to be given next: it is fetched and read meanwhile.
    """
    started = time.monotonic()
    _prepare()
    ledger.limit_disk(experiment.disk_budget_gb)
    _AHEAD.expect(unit.ref, ahead)
    rows: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    errors: list[Exception] = []
    for index, spec in enumerate(experiment.tasks):
        wanted = [result for result in unit.results if result.task == index]
        if wanted:
            try:
                found, failed = _measure_task(unit, spec, wanted, experiment, out)
            except Exception as error:  # a task's failure must not stop the others
                errors.append(error)
                found, failed = [], [{"measure": "", "error": f"{type(error).__name__}: {error}"}]
            rows += found
            failures += [{"unit": unit.address, "task": spec.label, **failure} for failure in failed]
    if len(errors) == len(failures) > 0 and not rows and len(set(map(str, errors))) == 1:
        raise errors[0]  # not a task's fault: the checkpoint's
    if rows:
        store.append(out, rows)
    return {"failures": failures, "seconds": time.monotonic() - started}


def _measure_task(
    unit: Unit, spec: TaskSpec, wanted: Sequence[Result], experiment: Experiment, out: Path
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    from interp.measure.observe import measure

    measures = [(result.measure.name, result.measure.params) for result in wanted if result.measure is not None]
    rows: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    if measures:
        obs = _observe_unit(unit, spec, measures, experiment, out)
        for result, entry in zip([r for r in wanted if r.measure is not None], measures, strict=True):
            found, failed = measure(obs, [entry])
            rows += [{**row, "key": result.key} for row in found]
            failures += failed
    for result in wanted:
        if result.measure is None:
            circuit = _circuit(unit.ref, spec, experiment, out)
            trial = _formation(unit.ref, spec, experiment, out)
            rows += [{**row, "key": result.key} for row in [*_circuit_rows(circuit), *_formation_rows(trial)]]
    about = _about(unit.ref, spec, _model_at(unit.ref, experiment))
    return [{**about, **row, "task": _label(spec, row.get("group"))} for row in rows], failures


def _label(spec: TaskSpec, group: str | None) -> str:
    """What the table calls the task, or a group of its questions."""
    return f"{spec.label}/{group}" if group else spec.label


def _about(ref: CheckpointRef, spec: TaskSpec, model: Model) -> dict[str, Any]:
    """The columns that all rows of a checkpoint and task share."""
    return {
        "run": f"{ref.family}:{ref.size}/{ref.setting}/seed{ref.seed}",
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


def _observe_unit(
    unit: Unit, spec: TaskSpec, measures: Sequence[Measure], experiment: Experiment, out: Path
) -> Observation:
    """The observation of the unit's checkpoint, beside those of the checkpoints that its measures compare it with."""
    beside: dict[str, Any] = {}
    for part in COMPARED:
        comparing = [entry for entry in measures if part in _needs(entry)]
        other = getattr(unit, part)
        if comparing and other is not None:
            beside[part] = _observe(other, spec, comparing, experiment, out, chosen=part == "final")
    if unit.reference is not None and any("reference" in _needs(entry) for entry in measures):
        beside["reference"] = _chosen_circuit(unit.reference, spec, experiment, out)
    return _observe(unit.ref, spec, measures, experiment, out, **beside)


def _observe(
    ref: CheckpointRef,
    spec: TaskSpec,
    measures: Sequence[Measure],
    experiment: Experiment,
    out: Path,
    *,
    chosen: bool = False,
    **beside: Any,
) -> Observation:
    """chosen: in the circuit are only the edges that it needs."""
    from interp.measure.needs import needs_of
    from interp.measure.observe import observe

    model = _model_at(ref, experiment)
    task, split_seed = _task(spec, ref, model)
    task = _questions(task, split_seed, spec.n_prompts, experiment.seed)
    with_circuit = experiment.circuits is not None and any("circuit" in _needs(entry) for entry in measures)
    find = _chosen_circuit if chosen else _circuit
    circuit = find(ref, spec, experiment, out) if with_circuit else None
    return observe(
        model,
        task,
        _prompts(task, split_seed, spec.n_prompts, experiment.seed),
        task.splits(split_seed),
        needs_of(measures),
        seeds.generator(experiment.seed, "measures", ref.sha256),
        circuit=circuit,
        **beside,
    )


def _needs(entry: Measure) -> Mapping[str, str]:
    return plugins.module("indicators", entry[0]).NEEDS


def _task(spec: TaskSpec, ref: CheckpointRef, model: Model) -> tuple[Task, int]:
    """The task in the model's own tokens, and its split seed; made once for all checkpoints of a run, with its splits."""
    from interp.tasks import fit_task

    described = json.dumps([spec.name, dict(spec.params), ref.manifest.get("task")], sort_keys=True, default=str)
    key = described, id(model.tokenizer), model.n_ctx
    if key not in _TASKS:
        task, split_seed = task_of(spec, ref)
        task = fit_task(task, model)
        _TASKS[key] = replace(task, splits=cache(task.splits)), split_seed, model.tokenizer
    return _TASKS[key][:2]


_TASKS: dict[tuple[str, int, int], tuple[Task, int, Any]] = {}
"""The tasks that this process has made, with their split seeds and the tokenizers that they were made for."""


@cache
def _prompts(task: Task, split_seed: int, n: int, seed: int) -> Prompts:
    """The same prompts for every checkpoint of a run, drawn once."""
    from interp.tasks import draw_prompts

    return draw_prompts(task, n, seed=seed, split_seed=split_seed)


@cache
def _questions(task: Task, split_seed: int, n: int, seed: int) -> Task:
    """The task with the questions that every checkpoint of a run is asked, chosen once."""
    from interp.tasks import ask_of

    return ask_of(task, n, seed=seed, split_seed=split_seed)


def _circuit(ref: CheckpointRef, spec: TaskSpec, experiment: Experiment, out: Path) -> Circuit:
    """The circuit of a checkpoint: read where it was found before, else found and kept."""
    from interp.circuits import Circuit, find_circuit
    from interp.circuits.formation.track import split

    wanted = experiment.circuits
    if wanted is None:
        raise InputError("the experiment asks for no circuits")
    path = out / "circuits" / f"{circuit_key(ref, spec, experiment)}.json"
    if path.is_file():
        return Circuit.from_json(files.read_json(path))
    model = _model_at(ref, experiment)
    found_on, _ = split(_circuit_prompts(ref, spec, experiment, model))
    circuit = find_circuit(model, found_on, method=wanted.method, metric=wanted.metric)
    files.write_json(path, circuit.to_json())
    return circuit


def _formation(ref: CheckpointRef, spec: TaskSpec, experiment: Experiment, out: Path) -> Mapping[str, Any]:
    """What the circuit of a checkpoint does on other prompts (`Snapshot.to_json`): read where it was tried before, else
    tried and kept, in a file of its own."""
    from interp.circuits.formation.track import snapshot

    path = out / "formation" / f"{circuit_key(ref, spec, experiment)}.json"
    if path.is_file():
        return files.read_json(path)
    wanted = experiment.circuits
    assert wanted is not None
    circuit, model = _circuit(ref, spec, experiment, out), _model_at(ref, experiment)
    prompts = _circuit_prompts(ref, spec, experiment, model)
    found = snapshot(model, ref.step, prompts, method=wanted.method, metric=wanted.metric, circuit=circuit).to_json()
    files.write_json(path, found)
    return found


def _chosen_circuit(ref: CheckpointRef, spec: TaskSpec, experiment: Experiment, out: Path) -> Circuit:
    """The circuit of a checkpoint, with those edges in it that reach 80 % faithfulness."""
    from interp.circuits.formation.track import chosen_edges

    circuit = _circuit(ref, spec, experiment, out)
    return chosen_edges(circuit, _formation(ref, spec, experiment, out))


def _circuit_prompts(ref: CheckpointRef, spec: TaskSpec, experiment: Experiment, model: Model) -> Prompts:
    """The prompts that circuits are found on (every other one) and tried on."""
    assert experiment.circuits is not None
    task, split_seed = _task(spec, ref, model)
    return _prompts(task, split_seed, 2 * experiment.circuits.n_prompts, experiment.seed)


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


_AHEAD = ReadAhead()
_MODELS: dict[tuple[str, ...], Model] = {}
"""One model for each size of a family that this process has met; its weights are swapped in place."""


def _model_at(ref: CheckpointRef, experiment: Experiment) -> Model:
    """A model that holds the weights of `ref`. The first swap of each family and architecture is proved by logits."""
    from interp.families import load
    from interp.families.streaming import prove_swap

    kept = (ref.family, ref.size, experiment.device, experiment.dtype)
    model = _MODELS.get(kept)
    if model is None:
        _MODELS.clear()  # sizes come one after the other: one model in memory
        model = _MODELS[kept] = load(ref, device=experiment.device, dtype=experiment.dtype)
    elif model.ref != ref:
        model.swap(_AHEAD.weights(ref), ref=ref)
        prove_swap(model, ref)
    _AHEAD.start()
    return model
