"""experiment.yaml -> Experiment: what to look at, with every default written out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from interp import plugins
from interp.documents import shipped, short
from interp.documents.records import (
    MOST,
    Distinct,
    Fits,
    Line,
    Name,
    Plain,
    is_whole,
    known_as,
    number,
    one_of,
    plain,
    read_record,
    record,
    text,
    whole,
)
from interp.errors import InputError, unknown

Steps = str | Mapping[str, int] | Sequence[int]

DEVICES = ("cpu", "cuda", "mps", "xpu")
DTYPES = ("float64", "float32", "float16", "bfloat16")
MAX_PROMPTS = 1_000_000
"""Of a task. A choice: a table of this many answers is 50 times the largest benchmark that is read here."""

MAX_POINTS = 1000
"""Of a `scan`. A choice: more are no scan that anyone looks at."""


def _are_steps(value: Any) -> bool:
    if isinstance(value, str):
        return value == "all"
    if isinstance(value, Mapping):
        return len(value) == 1 and set(value) <= {"log", "every"} and all(is_whole(n) and n > 0 for n in value.values())
    return isinstance(value, list | tuple) and len(value) > 0 and all(is_whole(n) and 0 <= n <= MOST for n in value)


def _plugin(kind: str, noun: str) -> AfterValidator:
    """The name of a file of the folder `kind`, or a third party's `package.module:function`."""

    def check(value: str) -> str:
        if ":" in value:
            if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", value):
                raise InputError(f"{short(value)} is no package.module:function")
        elif value.replace("-", "_") not in plugins.names(kind):
            raise unknown(noun, value, plugins.names(kind))
        return value

    return AfterValidator(check)


def _device(value: str) -> str:
    kind, colon, index = value.partition(":")
    if kind not in DEVICES:
        raise unknown("device", value, DEVICES)
    if colon and not re.fullmatch(r"\d{1,3}", index):
        raise InputError(f"unknown device {value!r}; expected a number after the colon, as in 'cuda:0'")
    return value


def _metrics() -> tuple[str, ...]:
    from interp.measure.metrics import METRICS

    return tuple(METRICS)


def _address(value: str) -> str:
    from interp.families.address import parse_address

    parse_address(value)
    return value


@record
class FamilySpec:
    """Which checkpoints of which family: one of `recipe`, `hub` or `name`."""

    recipe: Line | None = None
    """A recipe's file (relative to the experiment's), or the name of one that is shipped; what is missing is grown."""
    hub: Line | None = None
    """The name of a card, or the path of a card's file."""
    name: Line | None = None
    """Anything known: a stored family, a folder, a recipe, a card."""
    sizes: Annotated[tuple[Line, ...], Field(min_length=1), Distinct] | None = None
    """Only these sizes; all where it is left out, and so for the next two."""
    settings: Annotated[tuple[Line, ...], Field(min_length=1), Distinct] | None = None
    """Only these settings."""
    seeds: Annotated[tuple[Annotated[int, whole()], ...], Field(min_length=1), Distinct] | None = None
    """Only these seeds."""
    steps: Annotated[Any, Fits("'all', {log: n}, {every: n} or a list of steps", _are_steps)] = "all"
    """Which of the stored steps: `{log: n}` about n, evenly spaced in log step; `{every: n}` each n-th."""


@record
class TaskSpec:
    """A skill that is asked. In a file an entry may be its name alone, and may have `scan`: {parameter: [values]}, which
    stands for one task at each point of that grid."""

    name: Annotated[Line, _plugin("tasks", "task")]
    """A task's name, or a third party's `package.module:function`."""
    params: Plain = Field(default_factory=dict)
    """Its difficulty parameters; those left out are the trained run's own, else the task's defaults."""
    n_prompts: Annotated[int, whole(1, MAX_PROMPTS)] = 256
    """How many clean/corrupt pairs are drawn from it."""
    label: Annotated[str, Fits("text of one line", lambda value: value == "" or text().test(value))] = ""
    """What the table calls it: the name, with the parameters where several entries have the same name."""


@record
class MeasureSpec:
    """An indicator (behaviour included). In a file an entry is its name, or `{name: …}` with its parameters beside it."""

    name: Annotated[Line, _plugin("indicators", "measure")]
    """A measure's name, or a third party's `package.module:function`."""
    params: Plain = Field(default_factory=dict)
    """Its parameters."""


@record
class CircuitSpec:
    """How the circuit behind each task is located."""

    method: Annotated[Line, _plugin("circuits", "circuit method")] = "patching"
    """A circuit method's name, or a third party's `package.module:function`."""
    metric: Annotated[Line, known_as("metric", _metrics)] = "logit_diff"
    """What the circuit is to carry."""
    every: Annotated[int, whole(1)] = 1
    """At every how many of the chosen checkpoints; always at the last."""
    n_prompts: Annotated[int, whole(1, MAX_PROMPTS)] = 64
    """How many prompts it is found on; it is tried on as many others."""
    reference: Annotated[Line, AfterValidator(_address)] | None = None
    """The address of a checkpoint whose circuit is applied to every other run."""


@record
class Experiment:
    """A whole experiment; `resolved` gives it back as plain data."""

    name: Name
    """What it is called: its results are in `runs/<name>` where the command names no other folder."""
    families: Annotated[tuple[FamilySpec, ...], Field(min_length=1)]
    """Whose checkpoints are looked at."""
    tasks: Annotated[tuple[TaskSpec, ...], Field(min_length=1)]
    """What they are asked."""
    measures: Annotated[tuple[MeasureSpec, ...], Field(min_length=1)]
    """What is measured at each checkpoint."""
    circuits: CircuitSpec | None = None
    """How circuits are located; none are where it is left out."""
    device: Annotated[Line, AfterValidator(_device)] = "cpu"
    """Where it is computed: cpu, cuda, cuda:1, mps, xpu."""
    dtype: Annotated[str, one_of(*DTYPES)] = "float32"
    """In what precision."""
    seed: Annotated[int, whole()] = 0
    """Of every draw: prompts, probes, bootstraps."""
    disk_budget_gb: Annotated[float, number(0)] | None = None
    """How much disk (1e9 bytes) checkpoints fetched from a hub may take; all are kept where it is left out."""


def parse_experiment(data: Any, *, where: str = "experiment", base: Path = Path()) -> Experiment:
    """Plain data -> Experiment; `base` is the folder that recipe paths are relative to. Files it names are not opened."""
    if not isinstance(data, Mapping):
        raise InputError(f"{where} is {short(data)}; expected keys and values")
    top = dict(data)
    for key, entry in (("families", _family), ("tasks", _tasks), ("measures", _measure)):
        if isinstance(top.get(key), list | tuple):
            made = [entry(one, where, (key, index), base) for index, one in enumerate(top[key])]
            top[key] = tuple(spec for group in made for spec in group)
    if not top.get("circuits", True):
        del top["circuits"]
    experiment = read_record(Experiment, top, where=where)
    labelled = _labelled(experiment.tasks, where)
    _refuse_twice(experiment.measures, where)
    return replace(experiment, tasks=labelled)


def resolved(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain data, defaults included: `parse_experiment(resolved(e))` is `e`."""
    data = asdict(experiment)
    data["measures"] = [m["name"] if not m["params"] else {"name": m["name"], **m["params"]} for m in data["measures"]]
    data["families"] = [
        {k: list(v) if isinstance(v, tuple) else v for k, v in f.items() if v is not None} for f in data["families"]
    ]
    data["tasks"] = [dict(task) for task in data["tasks"]]
    return data


At = tuple[str | int, ...]


def _family(entry: Any, where: str, at: At, base: Path) -> list[FamilySpec]:
    given = {"name": entry} if isinstance(entry, str) else entry
    spec = read_record(FamilySpec, given, where=where, at=at)
    chosen = [key for key in ("recipe", "hub", "name") if getattr(spec, key) is not None]
    if len(chosen) != 1:
        raise InputError(
            f"{where}: families[{at[1]}] has {' and '.join(map(repr, chosen)) or 'neither'}; "
            "expected exactly one of 'recipe', 'hub' or 'name'"
        )
    if spec.recipe is not None and isinstance(entry, Mapping):
        beside = base / spec.recipe
        spec = replace(spec, recipe=str(beside if beside.exists() else shipped("recipe").get(spec.recipe, beside)))
    return [spec]


def _tasks(entry: Any, where: str, at: At, base: Path) -> list[TaskSpec]:
    """One entry of `tasks`; with `scan: {parameter: [values]}` one task for each point of the grid."""
    if not isinstance(entry, Mapping):
        return [read_record(TaskSpec, {"name": entry} if isinstance(entry, str) else entry, where=where, at=at)]
    given = dict(entry)
    grid = given.pop("scan", None)
    spec = read_record(TaskSpec, given, where=where, at=at)
    if grid is None:
        return [spec]
    from interp.engine.scan import scan

    try:
        points = scan(spec.name, {**spec.params, **_grid(grid)}, skip_invalid=True)
    except InputError as error:
        raise InputError(f"{where}: tasks[{at[1]}].scan: {error}") from None
    return [replace(spec, params=point.params, label=point.label) for point in points]


def _grid(grid: Any) -> dict[str, Any]:
    """The part of an entry under `scan`: plain data, and not too many points."""
    if not isinstance(grid, Mapping) or not grid:
        raise InputError(f"it is {short(grid)}; expected {{parameter: [values]}}")
    n_points = math.prod(len(values) for values in plain(grid).values() if isinstance(values, list | tuple))
    if n_points > MAX_POINTS:
        raise InputError(f"it has {n_points} points; expected at most {MAX_POINTS}")
    return dict(grid)


def _measure(entry: Any, where: str, at: At, base: Path) -> list[MeasureSpec]:
    if isinstance(entry, str | MeasureSpec):
        entry = {"name": entry} if isinstance(entry, str) else {"name": entry.name, **entry.params}
    if not isinstance(entry, Mapping) or "name" not in entry:
        raise InputError(
            f"{where}: measures[{at[1]}] is {short(entry)}; expected a name or {{name: …, parameter: value}}"
        )
    params = {key: value for key, value in entry.items() if key != "name"}
    return [read_record(MeasureSpec, {"name": entry["name"], "params": params}, where=where, at=at)]


def _labelled(specs: Sequence[TaskSpec], where: str) -> tuple[TaskSpec, ...]:
    """Every task with a label of its own."""
    names = [spec.name for spec in specs]
    labelled: dict[str, TaskSpec] = {}
    for index, spec in enumerate(specs):
        described = " ".join(",".join(f"{key}={value}" for key, value in spec.params.items()).split())
        default = f"{spec.name}[{described}]" if names.count(spec.name) > 1 and described else spec.name
        label = spec.label or default
        if label in labelled:
            raise InputError(
                f"{where}: tasks[{index}]: two tasks are called {label!r}; give one of them another 'label'"
            )
        labelled[label] = replace(spec, label=label)
    return tuple(labelled.values())


def _refuse_twice(measures: Sequence[MeasureSpec], where: str) -> None:
    """The table has one value of a measure at a checkpoint."""
    seen = set[str]()
    for index, spec in enumerate(measures):
        if spec.name in seen:
            raise InputError(f"{where}: measures[{index}] is {spec.name!r} again; a measure is given once")
        seen.add(spec.name)
