"""Experiment -> units of work: which checkpoints, compared with which, and the key of every result.

A key is made of everything that goes into a result's rows: the checkpoint (`interp.families.identity`: its address,
weights, configuration and tokenizer) and those that the measure compares with, the circuit of another run where it uses
one, the task, its label, code and split, the prompts, the measure, its parameters, its code and the library's
(`interp.engine.provenance`), the device and precision. A result is reused only when its key is the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp import plugins
from interp.engine import provenance
from interp.engine.config import Experiment, FamilySpec, MeasureSpec, TaskSpec
from interp.engine.steps import choose_steps
from interp.errors import InputError
from interp.families.identity import identity
from interp.table.store import digest
from interp.types import CheckpointRef, Task

if TYPE_CHECKING:
    from interp.measure.needs import Need

COMPARED = ("previous", "initial", "final")
"""Checkpoints beside the present one that a measure may name in its NEEDS."""

WINDOW = 10
"""How many checkpoints before it a `window` holds: with the present one, the ten updates of arXiv 2603.15678."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One result to compute: `key`, the task's place in the experiment, and the measure (None: the circuit itself).

    before: of a circuit, the key of the one before it in its run, which is tried at this checkpoint too.
    """

    key: str
    task: int
    measure: MeasureSpec | None
    before: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Of a circuit, the files of a run directory that hold it, what it does, and what the one before still does."""
        kept = (f"inherited/{self.key}.{self.before}.json",) if self.before is not None else ()
        return f"circuits/{self.key}.json", f"formation/{self.key}.json", *kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One checkpoint to measure, the checkpoints it may be compared with, and the results wanted.

    before: the last one before it at which circuits are looked for. reference: the checkpoint of another run whose circuit is
        applied here.
    """

    address: str
    ref: CheckpointRef
    previous: CheckpointRef | None
    window: tuple[CheckpointRef, ...]
    initial: CheckpointRef
    final: CheckpointRef
    before: CheckpointRef | None
    reference: CheckpointRef | None
    results: tuple[Result, ...]


def expand(
    experiment: Experiment, *, root: str | Path | None = None, without: Collection[str] = frozenset()
) -> list[Unit]:
    """Every unit of the experiment, run by run in order of steps; checkpoints without digests of their files are sealed.

    Args:
        without: runs (`family:size/setting/seed0`) that are left out: what they have is not their end.

    Raises:
        InputError: nothing is selected, though no run was left out.
    """
    for known in (identity, provenance.code_of, _task_digest):
        known.cache_clear()  # files may have changed since
    runs = [
        (stored, choose_steps([ref.step for ref in stored], spec.steps))
        for spec in experiment.families
        for stored in _runs(spec, root=root, without=without)
    ]
    reference = reference_of(experiment, root)
    units: dict[str, Unit] = {}  # entries may overlap
    for stored, steps in runs:
        for unit in _units_of_run(experiment, stored, steps, reference):
            before = units.setdefault(unit.address, unit).results
            more = tuple(result for result in unit.results if result.key not in {had.key for had in before})
            units[unit.address] = replace(unit, results=before + more)
    if not units and not without:
        raise InputError(f"experiment {experiment.name!r} selects no checkpoint")
    return list(units.values())


def chosen_runs(spec: FamilySpec) -> tuple[Sequence[str] | None, Sequence[str] | None, Sequence[int] | None]:
    """The sizes, settings and seeds of a recipe that the entry selects, None for all."""
    return spec.sizes, spec.settings, spec.seeds


def needs_of_measure(name: str) -> Mapping[str, Need]:
    """What an indicator reads, by the names that it asks for it under."""
    from interp.measure.needs import indicator

    return {one.name: one for one in indicator(name).needs}


def reach(needs: Container[str]) -> int:
    """How many checkpoints back measures with these needs look."""
    return WINDOW if "window" in needs else int("previous" in needs)


def task_of(spec: TaskSpec, ref: CheckpointRef) -> tuple[Task, int]:
    """The task as this checkpoint's run was trained on it, and the seed of its split.

    Parameters that the experiment leaves open are the run's own (its train fraction, say), when it is the run's task.
    """
    from interp.tasks import task

    trained = ref.manifest.get("task") or {}
    if trained.get("name") not in (spec.name, spec.name.replace("-", "_")):
        trained = {}
    return task(spec.name, **{**trained.get("params", {}), **spec.params}), int(trained.get("split_seed", 0))


def _runs(spec: FamilySpec, *, root: str | Path | None, without: Collection[str]) -> list[list[CheckpointRef]]:
    """The stored checkpoints of every run that the entry selects."""
    from interp.families import family
    from interp.families.planned import load_recipe, planned_runs
    from interp.families.verification import seal

    name = spec.name or spec.hub or ""
    if spec.recipe is not None:
        recipe = load_recipe(spec.recipe)
        sizes, settings, seeds = chosen_runs(spec)
        if all(run.name in without for run in planned_runs(recipe, sizes=sizes, settings=settings, seeds=seeds)):
            return []
        name = recipe.name
    found = family(name, root=root)
    broken = {folder.parent for folder in found.damaged}  # without one of its steps a run's comparisons would be others
    refs = seal(found.checkpoints(size=spec.sizes, setting=spec.settings, seed=spec.seeds))
    runs: dict[tuple[str, str, str, int], list[CheckpointRef]] = {}
    for ref in refs:
        if (ref.path is None or ref.path.parent not in broken) and ref.run not in without:
            runs.setdefault(_run_of(ref), []).append(ref)
    return [sorted(stored, key=lambda ref: ref.step) for _, stored in sorted(runs.items())]


def reference_of(experiment: Experiment, root: str | Path | None) -> CheckpointRef | None:
    """The checkpoint whose circuit is applied to other runs.

    Raises:
        InputError: a measure needs it and the experiment does not name it, or there is no such checkpoint.
    """
    wanted = experiment.circuits.reference if experiment.circuits is not None else None
    for measure in experiment.measures:
        if wanted is None and "reference" in needs_of_measure(measure.name):
            raise InputError(
                f"measure {measure.name!r} applies the circuit of another run: name the checkpoint, as in "
                "`circuits: {reference: family:size/setting/seed0@step1000}`"
            )
    if wanted is None:
        return None
    from interp.families import resolve

    return _pinned([resolve(wanted, root=root)])[0]


def _pinned(refs: list[CheckpointRef]) -> list[CheckpointRef]:
    """With the digests of the weights, also of those in folders of one's own and on a hub."""
    if all(ref.sha256 is not None for ref in refs):
        return refs
    from interp.families.folder import digested
    from interp.families.hub import pinned

    return pinned([digested(ref) for ref in refs])


def _units_of_run(
    experiment: Experiment, stored: Sequence[CheckpointRef], steps: Sequence[int], reference: CheckpointRef | None
) -> list[Unit]:
    place = {ref.step: index for index, ref in enumerate(stored)}
    stored = _pinned_where_used(experiment, stored, [place[step] for step in steps])
    if reference is not None and _run_of(reference) == _run_of(stored[0]):
        reference = None  # on the run that it comes from, it would look ahead
    units: list[Unit] = []
    wanted, before = experiment.circuits, None
    for order, step in enumerate(steps):
        index = place[step]
        unit = Unit(
            address=stored[index].address,
            ref=stored[index],
            previous=stored[index - 1] if index else None,
            window=tuple(stored[max(index - WINDOW, 0) : index]),
            initial=stored[0],
            final=stored[-1],
            before=before,
            reference=reference,
            results=(),
        )
        with_circuit = wanted is not None and (order % wanted.every == 0 or order == len(steps) - 1)
        before = unit.ref if with_circuit else before
        units.append(replace(unit, results=tuple(_results(unit, experiment, with_circuit=with_circuit))))
    return units


def _pinned_where_used(
    experiment: Experiment, stored: Sequence[CheckpointRef], chosen: Sequence[int]
) -> list[CheckpointRef]:
    """The run's checkpoints, with the digests of those that are measured or compared with: a hub is asked for each."""
    needs = {need for measure in experiment.measures for need in needs_of_measure(measure.name)}
    used = {*chosen}
    used |= {place for index in chosen for place in range(max(index - reach(needs), 0), index)}
    used |= {0} if "initial" in needs else set()
    used |= {len(stored) - 1} if "final" in needs else set()
    pinned = dict(zip(sorted(used), _pinned([stored[index] for index in sorted(used)]), strict=True))
    return [pinned.get(index, ref) for index, ref in enumerate(stored)]


def _results(unit: Unit, experiment: Experiment, *, with_circuit: bool) -> Iterator[Result]:
    """The results wanted of a unit; circuit-based measures only where a circuit is looked for."""
    for index, spec in enumerate(experiment.tasks):
        common, circuit = _common(unit.ref, spec, experiment), circuit_key(unit.ref, spec, experiment)
        if with_circuit:
            before = circuit_key(unit.before, spec, experiment) if unit.before is not None else None
            yield Result(key=circuit, task=index, measure=None, before=before)
        for measure in experiment.measures:
            needs = needs_of_measure(measure.name)
            if "circuit" in needs and not with_circuit:
                continue
            others = {part: getattr(unit, part) for part in COMPARED if part in needs}
            compared: dict[str, Any] = {part: other and identity(other) for part, other in others.items()}
            if "window" in needs:
                compared["window"] = [identity(other) for other in unit.window]
            if "reference" in needs and unit.reference is not None:
                compared["reference"] = circuit_key(unit.reference, spec, experiment)
            given = circuit if "circuit" in needs else None
            code = provenance.code_of("indicators", measure.name)
            key = digest(common, spec.n_prompts, compared, given, measure.name, dict(measure.params), code)
            yield Result(key=key, task=index, measure=measure)


def circuit_key(ref: CheckpointRef, spec: TaskSpec, experiment: Experiment) -> str:
    """The key of the circuit behind a task at a checkpoint, and of what it does on other prompts."""
    wanted = experiment.circuits
    if wanted is None:
        return ""
    formation = "circuits.formation"
    parts = (*((formation, part) for part in plugins.names(formation)), ("circuits", wanted.method))
    code = [provenance.code_of(*part) for part in parts]
    return digest(_common(ref, spec, experiment), wanted.method, wanted.metric, wanted.n_prompts, code)


def _common(ref: CheckpointRef, spec: TaskSpec, experiment: Experiment) -> tuple[Any, ...]:
    """What every result of a checkpoint and task depends on."""
    described = json.dumps([spec.name, dict(spec.params), ref.manifest.get("task")], sort_keys=True, default=str)
    if described not in _DESCRIBED:
        _DESCRIBED[described] = spec, ref
    how = experiment.seed, experiment.dtype, experiment.device
    return identity(ref), spec.label, _task_digest(described), *how, provenance.code_of("", "")


def _run_of(ref: CheckpointRef) -> tuple[str, str, str, int]:
    return ref.family, ref.size, ref.setting, ref.seed


_DESCRIBED: dict[str, tuple[TaskSpec, CheckpointRef]] = {}
"""A task and a checkpoint of a run that was trained on it, for each way that a task is described."""


@cache
def _task_digest(described: str) -> str:
    """The task's fingerprint, code and split seed, computed once for each way that it is described."""
    from interp.tasks._fingerprint import fingerprint

    spec, ref = _DESCRIBED[described]
    task, split_seed = task_of(spec, ref)
    return digest(fingerprint(task), provenance.code_of("tasks", spec.name), split_seed)
