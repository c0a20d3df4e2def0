"""An experiment read, and held against what there is: its recipes, cards, tasks, measures and methods. Nothing is trained,
fetched or written; a fault in the last family is found before the first is grown."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp import plugins
from interp.documents import named, read_document, short
from interp.documents.records import Fits, number, whole
from interp.engine.config import Experiment, FamilySpec, MeasureSpec, TaskSpec, parse_experiment
from interp.engine.steps import choose_steps
from interp.engine.units import needs_of_measure
from interp.errors import InputError, nearest, unknown

if TYPE_CHECKING:
    from interp.families.planned import PlannedRun

MAY_BE_ZERO = ("burn_in",)
"""Whole parameters of measures that may be 0; the others count something that there has to be."""


def read_experiment(path: str | Path) -> Experiment:
    """The experiment in a YAML (or `.json`) file, or the shipped one of that name, checked before anything is done.

    A recipe's path is relative to the experiment's file.

    Raises:
        InputError: no such file, not YAML, or a key, a name or a value in it is wrong; the message names the key.
    """
    path = named(path, "experiment")
    experiment = parse_experiment(read_document(path), where=str(path), base=path.parent)
    check_experiment(experiment, where=str(path))
    return experiment


def check_experiment(experiment: Experiment, *, where: str = "experiment") -> None:
    """Raises InputError for what no field says by itself; the message names the key.

    Recipes are read and their runs spelled out, cards are read, the tasks are made, the measures' parameters compared
    with their functions'. Families by `name` are looked up later: they may be in a store that is not known here.
    """
    planned = [
        _runs_of(spec, where=f"{where}: families[{index}]") if spec.recipe is not None else []
        for index, spec in enumerate(experiment.families)
    ]
    runs = [run for part in planned for run in part]
    _refuse_two_of_one_name(runs, where)
    for index, spec in enumerate(experiment.families):
        if spec.hub is not None:
            _check_card(spec, where=f"{where}: families[{index}]")
    for index, task in enumerate(experiment.tasks):
        _check_task(task, experiment.families, runs, where=f"{where}: tasks[{index}]")
    for index, measure in enumerate(experiment.measures):
        _check_measure(measure, experiment, where=f"{where}: measures[{index}]")
    if experiment.circuits is not None:
        _plugin(where, "circuits.method", "circuits", experiment.circuits.method)
        if experiment.circuits.reference is not None:
            _check_reference(experiment.circuits.reference, runs, where=f"{where}: circuits.reference")


def check_device(device: str) -> None:
    """Raises InputError where this machine has no such device: asked before a run that computes here."""
    import torch

    kind, _, index = device.partition(":")
    module = getattr(torch, kind, None)
    count = 1 if kind == "cpu" else module.device_count() if module is not None and module.is_available() else 0
    if kind != "cpu" and int(index or 0) >= count:
        have = f"{count} of the kind" if count else "none of the kind"
        raise InputError(f"device {device!r} is not there: this machine has {have}")


def _runs_of(spec: FamilySpec, *, where: str) -> list[PlannedRun]:
    """The planned runs that an entry selects; explicit steps are in the schedule of each."""
    from interp.families.planned import load_recipe, planned_runs

    try:
        recipe = load_recipe(spec.recipe or "")
    except InputError as error:
        raise InputError(f"{where}.recipe: {error}") from None
    runs = planned_runs(recipe)
    for kind in ("sizes", "settings", "seeds"):
        have = dict.fromkeys(getattr(run, kind[:-1]) for run in runs)
        _check_among(getattr(spec, kind), have, where=f"{where}.{kind}", of=recipe.name)
        wanted = getattr(spec, kind)
        runs = [run for run in runs if wanted is None or getattr(run, kind[:-1]) in wanted]
    for run in runs:
        try:
            choose_steps(run.schedule, spec.steps)
        except InputError as error:
            raise InputError(f"{where}.steps: {error}") from None
    return runs


def _check_card(spec: FamilySpec, *, where: str) -> None:
    from interp.families.card import card_names, read_card
    from interp.families.hub_ids import SIZE, split_id

    if spec.hub not in card_names() and not str(spec.hub).endswith(".yaml") and split_id(str(spec.hub)):
        _check_among(
            spec.sizes, [SIZE], where=f"{where}.sizes", of=str(spec.hub)
        )  # a repository: its revisions say the rest
        return
    try:
        card = read_card(spec.hub or "")
    except InputError as error:
        raise InputError(f"{where}.hub: {error}") from None
    runs = card.runs or ()
    have: Mapping[str, Any] = {
        "sizes": card.sizes,
        "settings": {run.get("setting", "base") for run in runs} or card.settings,
        "seeds": {run.get("seed", 0) for run in runs} or card.seeds,
    }
    for kind, names in have.items():
        _check_among(getattr(spec, kind), names, where=f"{where}.{kind}", of=card.name)


def _check_among(wanted: Sequence[Any] | None, have: Any, *, where: str, of: str) -> None:
    for index, value in enumerate(wanted or ()):
        if value not in have:
            raise InputError(f"{where}[{index}] is {value!r}, which {of} has not{nearest(value, have)}")


def _refuse_two_of_one_name(runs: Sequence[PlannedRun], where: str) -> None:
    """Two recipes of one name, whose runs would lie in one folder."""
    digests: dict[str, str] = {}
    for run in runs:
        if digests.setdefault(run.name, run.digest) != run.digest:
            raise InputError(
                f"{where}: families: two recipes describe {run.name} in different ways; give one another name"
            )


def _check_task(spec: TaskSpec, families: Sequence[FamilySpec], runs: Sequence[PlannedRun], *, where: str) -> None:
    """The task can be made, with the parameters of each run that was trained on it where there are such."""
    from interp.tasks import task

    known = inspect.signature(_plugin(where, "name", "tasks", spec.name)).parameters
    for name in spec.params:
        if name not in known:
            raise InputError(f"{where}.params has no key {short(name)}: task {spec.name!r}{nearest(name, known)}")
    trained = {json.dumps(run.task["params"], sort_keys=True, default=str): run.task["params"] for run in runs
               if run.task["name"] == spec.name}  # fmt: skip
    from_cards = any(entry.hub is not None for entry in families)
    for own in trained.values() if trained else [{}] * from_cards:
        try:
            task(spec.name, **{**own, **spec.params})
        except InputError as error:
            raise InputError(f"{where}.params: {error}") from None
        except (TypeError, ValueError, OverflowError, RuntimeError, MemoryError, OSError) as error:
            raise InputError(f"{where}.params do not work: {' '.join(str(error).split())}") from None


def _check_measure(spec: MeasureSpec, experiment: Experiment, *, where: str) -> None:
    """Its parameters are those of its function and of their type; what it needs is in the experiment."""
    function = _plugin(where, "name", "indicators", spec.name)
    known = dict(list(inspect.signature(function).parameters.items())[1:])
    for name, value in spec.params.items():
        if name not in known:
            expected = nearest(name, known) or "; it has none"
            raise InputError(f"{where} has no key {short(name)}: measure {spec.name!r}{expected}")
        fits = _fits(name, known[name].default)
        if fits is not None and not fits.test(value):
            raise InputError(f"{where}.{name} is {short(value)}; expected {fits.phrase}")
    needs = needs_of_measure(spec.name)
    if experiment.circuits is None and {"circuit", "reference"} & set(needs):
        raise InputError(f"{where}: {spec.name!r} looks at circuits; expected the key 'circuits', as in {{every: 5}}")
    if "reference" in needs and experiment.circuits is not None and experiment.circuits.reference is None:
        raise InputError(
            f"{where}: {spec.name!r} applies the circuit of another run: name the checkpoint, as in "
            "`circuits: {reference: family:size/setting/seed0@step1000}`"
        )


def _fits(name: str, default: Any) -> Fits | None:
    """What a measure's parameter may be, by its default; None where that says nothing."""
    if isinstance(default, bool):
        return Fits("true or false", lambda value: isinstance(value, bool))
    if isinstance(default, int):
        return whole(0 if name in MAY_BE_ZERO or default < 1 else 1)
    if isinstance(default, float):
        return number(0, with_ends=True) if default >= 0 else number()
    if isinstance(default, str):
        return Fits("text", lambda value: isinstance(value, str))
    return None


def _plugin(where: str, key: str, kind: str, name: str) -> Any:
    """The plug-in of that name, which can be loaded."""
    try:
        return plugins.load(kind, name)
    except InputError as error:
        raise InputError(f"{where}{'.' if '[' in where else ': '}{key}: {error}") from None


def _check_reference(reference: str, runs: Sequence[PlannedRun], *, where: str) -> None:
    """Where the reference is in a family that is grown here, it is one of its checkpoints."""
    from interp.families.address import parse_address

    wanted = parse_address(reference)
    grown = [run for run in runs if run.family == wanted.family]
    if not grown or Path(wanted.family).is_dir():
        return
    found = grown
    for kind in ("size", "setting", "seed"):
        value = getattr(wanted, kind)
        if value is not None:
            have = dict.fromkeys(getattr(run, kind) for run in found)
            if value not in have:
                raise InputError(f"{where}: {unknown(f'{kind} of {wanted.family}', value, have)}")
            found = [run for run in found if getattr(run, kind) == value]
    steps = sorted({step for run in found for step in run.schedule})
    if (asked := wanted.step) is not None and asked not in steps:
        near = min(steps, key=lambda step: abs(step - asked))
        raise InputError(f"{where}: {reference!r} has a step that is not stored; the nearest is {near}")
