"""experiment.yaml -> Experiment: what to look at, with every default written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from interp.documents import read_yaml
from interp.errors import InputError, nearest

Steps = str | Mapping[str, int] | Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySpec:
    """Which checkpoints of which family: one of `recipe` (a file), `hub` (a card's name) or `name` (anything known).

    steps: "all", `{log: n}` (about n checkpoints, evenly spaced in log step), `{every: n}` (each n-th) or a list.
    """

    recipe: str | None = None
    hub: str | None = None
    name: str | None = None
    sizes: tuple[str, ...] | None = None
    settings: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    steps: Steps = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A task, its difficulty parameters, and how many clean/corrupt pairs are drawn from it.

    label: what the table calls it; the name, with the parameters where several entries have the same name.
    """

    name: str
    params: Mapping[str, Any]
    n_prompts: int = 256
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSpec:
    """An indicator (behaviour included) and its parameters."""

    name: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitSpec:
    """Which method locates the circuit, and at every how many of the chosen checkpoints (and at the last).

    n_prompts: how many prompts it is found on; it is tried on as many others.
    reference: the address of a checkpoint whose circuit is applied to every other run.
    """

    method: str = "patching"
    metric: str = "logit_diff"
    every: int = 1
    n_prompts: int = 64
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A whole experiment; `resolved` gives it back as plain data.

    disk_budget_gb: how much disk (1e9 bytes) checkpoints fetched from a hub may take; None: all of them are kept.
    """

    name: str
    families: tuple[FamilySpec, ...]
    tasks: tuple[TaskSpec, ...]
    measures: tuple[MeasureSpec, ...]
    circuits: CircuitSpec | None = None
    device: str = "cpu"
    dtype: str = "float32"
    seed: int = 0
    disk_budget_gb: float | None = None


def load_experiment(path: str | Path) -> Experiment:
    """Read and check an experiment file. A recipe's path is relative to the experiment's file.

    Raises:
        InputError: the file is missing or not YAML, or a key, a name or a value in it is wrong.
    """
    return parse_experiment(read_yaml(path), where=str(path), base=Path(path).parent)


def parse_experiment(data: Any, *, where: str = "experiment", base: Path = Path()) -> Experiment:
    """Plain data -> Experiment; `base` is the folder that recipe paths are relative to."""
    top = _checked(data, Experiment, where)
    for key in ("name", "families", "tasks", "measures"):
        if not top.get(key):
            raise InputError(f"{where}: {key!r} is missing or empty")
    return Experiment(
        name=str(top["name"]),
        families=tuple(
            _family(entry, f"{where}: families", base) for entry in _list(top["families"], where, "families")
        ),
        tasks=_labelled([t for entry in _list(top["tasks"], where, "tasks") for t in _tasks(entry, f"{where}: tasks")]),
        measures=tuple(_measure(entry, f"{where}: measures") for entry in _list(top["measures"], where, "measures")),
        circuits=CircuitSpec(**_checked(top["circuits"], CircuitSpec, f"{where}: circuits"))
        if top.get("circuits")
        else None,
        disk_budget_gb=checked_budget(top.get("disk_budget_gb"), f"{where}: disk_budget_gb"),
        **{key: top[key] for key in ("device", "dtype", "seed") if key in top},
    )


def checked_budget(value: Any, where: str) -> float | None:
    """A disk budget in gigabytes, or None for none."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
        raise InputError(f"{where} is {value!r}; expected a number of gigabytes above 0")
    return value


def resolved(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain data, defaults included: `parse_experiment(resolved(e))` is `e`."""
    data = asdict(experiment)
    data["measures"] = [m["name"] if not m["params"] else {"name": m["name"], **m["params"]} for m in data["measures"]]
    data["families"] = [
        {k: list(v) if isinstance(v, tuple) else v for k, v in f.items() if v is not None} for f in data["families"]
    ]
    data["tasks"] = [dict(task) for task in data["tasks"]]
    return data


def _family(entry: Any, where: str, base: Path) -> FamilySpec:
    given = _checked({"name": entry} if isinstance(entry, str) else entry, FamilySpec, where)
    if sum(key in given for key in ("recipe", "hub", "name")) != 1:
        raise InputError(f"{where}: an entry needs exactly one of 'recipe', 'hub' or 'name', got {sorted(given)}")
    if "recipe" in given:
        recipe = Path(given["recipe"])
        given["recipe"] = str(recipe if recipe.is_absolute() else base / recipe)
    for key, kind in (("sizes", str), ("settings", str), ("seeds", int)):
        if given.get(key) is not None:
            given[key] = tuple(kind(value) for value in _list(given[key], where, key))
    _check_steps(given.get("steps", "all"), where)
    return FamilySpec(**given)


def _check_steps(steps: Steps, where: str) -> None:
    if isinstance(steps, str):
        good = steps == "all"
    elif isinstance(steps, Mapping):
        good = (
            len(steps) == 1
            and set(steps) <= {"log", "every"}
            and all(isinstance(n, int) and n > 0 for n in steps.values())
        )
    else:
        good = all(isinstance(step, int) for step in steps)
    if not good:
        raise InputError(f"{where}: steps is {steps!r}; expected 'all', {{log: n}}, {{every: n}} or a list of steps")


def _tasks(entry: Any, where: str) -> list[TaskSpec]:
    """One entry of `tasks`; with `scan: {parameter: [values]}` one task for each point of the grid."""
    given = dict(entry) if isinstance(entry, Mapping) else {"name": entry}
    grid = given.pop("scan", None)
    spec = TaskSpec(**{"params": {}, "name": "", **_checked(given, TaskSpec, where)})
    if not isinstance(spec.name, str) or not spec.name:
        raise InputError(f"{where}: an entry has no 'name': {entry!r}")
    if grid is None:
        return [spec]
    from interp.engine.scan import scan

    points = scan(spec.name, {**spec.params, **grid}, skip_invalid=True)
    return [replace(spec, params=point.params, label=point.label) for point in points]


def _labelled(specs: Sequence[TaskSpec]) -> tuple[TaskSpec, ...]:
    """Every task with a label of its own."""
    names = [spec.name for spec in specs]
    labelled = []
    for spec in specs:
        described = ",".join(f"{key}={value}" for key, value in spec.params.items())
        default = f"{spec.name}[{described}]" if names.count(spec.name) > 1 and described else spec.name
        labelled.append(replace(spec, label=spec.label or default))
    labels = [spec.label for spec in labelled]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"two tasks are called {label!r}; give one of them another 'label'")
    return tuple(labelled)


def _measure(entry: Any, where: str) -> MeasureSpec:
    if isinstance(entry, str):
        return MeasureSpec(name=entry, params={})
    if not isinstance(entry, Mapping) or "name" not in entry:
        raise InputError(f"{where}: expected a name or {{name: …, parameter: value}}, got {entry!r}")
    return MeasureSpec(name=entry["name"], params={key: value for key, value in entry.items() if key != "name"})


def _checked(data: Any, record: type, where: str) -> dict[str, Any]:
    """`data` as a dictionary whose keys are all fields of `record`."""
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: expected keys and values, got {data!r}")
    known = [field.name for field in fields(record)]
    for key in data:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}{nearest(key, known)}")
    return dict(data)


def _list(value: Any, where: str, key: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{where}: {key!r} must be a list, got {value!r}")
    return list(value)
