"""A recipe spelled out: a YAML file in, a list of planned runs out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.documents import named, read_document, short
from interp.documents.records import (
    Fits,
    number,
    read_record,
    whole,
)
from interp.errors import InputError, nearest, unknown
from interp.families.intervening import plan_interventions
from interp.families.recipe import MAX_CHECKPOINTS, MAX_RUNS, RUN_KEYS, Recipe, Schedule, Setting
from interp.families.schedule import schedule

if TYPE_CHECKING:
    from interp.types import Task


OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "adamw": {"lr": 1e-3, "weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "warmup": 0},
    "sgd": {"lr": 1e-2, "weight_decay": 0.0, "momentum": 0.0, "warmup": 0},
}
"""What can be set, and PyTorch's own values where nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlannedRun:
    """One run of a family, fully spelled out: what decides its bits, and nothing else.

    task: {"name", "params"}; model: config.json of the model; optimizer: with every default filled in.
    steps: the planned number of optimiser steps. batch: sequences a step, None for the whole training split.
    checkpoints: {"log", "every"} as `schedule` takes them. interventions: as `plan_interventions` spells them out.
    """

    family: str
    size: str
    setting: str
    seed: int
    task: Mapping[str, Any]
    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    steps: int
    batch: int | None
    checkpoints: Mapping[str, int]
    loss_dtype: str
    interventions: tuple[Mapping[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """`family:size/setting/seedK`, the address of the run."""
        return f"{self.family}:{self.size}/{self.setting}/seed{self.seed}"

    @property
    def schedule(self) -> tuple[int, ...]:
        """The steps that are stored."""
        return schedule(self.steps, **self.checkpoints)

    @property
    def digest(self) -> str:
        """sha256 of everything above; a run without interventions has the one that it had before there were any."""
        content = {key: value for key, value in asdict(self).items() if key != "interventions" or value}
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def folder(self, root: str | Path) -> Path:
        """Where its checkpoints are, in the store `root`."""
        return Path(root) / self.family / self.size / self.setting / f"seed{self.seed}"


def load_recipe(source: str | Path | Mapping[str, Any] | Recipe) -> Recipe:
    """The recipe in a YAML (or `.json`) file, the shipped one of that name, or one in a mapping of the same form.

    Raises:
        InputError: an unknown key or name (the nearest valid one is named), a key that is missing or a value out of
            range.
    """
    if isinstance(source, Recipe):
        return source
    if isinstance(source, Mapping):
        where, raw = "recipe", source
    else:
        path = named(source, "recipe")
        where, raw = f"recipe {path}", read_document(path)
    recipe = read_record(Recipe, raw, where=where)
    _check_parts(recipe, where=where)
    _all_runs(recipe, where=where)  # each is spelled out and checked here, before anything is trained
    return recipe


def planned_runs(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    sizes: Sequence[str] | None = None,
    settings: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[PlannedRun]:
    """The runs of a recipe, or those of the sizes, settings and seeds asked for.

    Raises:
        InputError: a size, setting or seed that no run of the recipe has.
    """
    planned = _all_runs(load_recipe(recipe), where="recipe")
    for kind, wanted in (("size", sizes), ("setting", settings), ("seed", seeds)):
        have = {getattr(run, kind) for run in planned}
        for value in wanted or ():
            if value not in have:
                raise unknown(kind, value, have)
    return [
        run
        for run in planned
        if (sizes is None or run.size in sizes)
        and (settings is None or run.setting in settings)
        and (seeds is None or run.seed in seeds)
    ]


def outline(source: str | Path | Mapping[str, Any]) -> tuple[list[str], int]:
    """The sizes of a recipe's runs and how many checkpoints they would have, without making their tasks: for a list.

    Raises:
        InputError: as `load_recipe`, but for what the task says of its parameters.
    """
    raw = source if isinstance(source, Mapping) else read_document(named(source, "recipe"))
    recipe = read_record(Recipe, raw, where="recipe")
    _check_parts(recipe, where="recipe")
    cells, n = _cells(recipe), 0
    for _, setting, _ in cells:
        over = recipe.settings[setting] or Setting()
        steps = over.steps or recipe.steps
        n += len(schedule(steps, **_checkpoints(recipe.checkpoints, over.checkpoints, steps, where="recipe")))
    return list(dict.fromkeys(size for size, *_ in cells)), n


def _cells(recipe: Recipe) -> list[tuple[str, str, int]]:
    """(size, setting, seed) of every run, in the recipe's order."""
    cells: dict[tuple[str, str, int], None] = {}
    for part in recipe.runs:
        chosen = (getattr(part, kind) for kind in RUN_KEYS)
        names = (
            getattr(recipe, kind) if given is None else given for kind, given in zip(RUN_KEYS, chosen, strict=True)
        )
        cells |= dict.fromkeys(product(*names))
    return list(cells)


def _check_parts(recipe: Recipe, *, where: str) -> None:
    """Names in `runs` are the recipe's, and there are not too many runs."""
    n_runs = 0
    for index, part in enumerate(recipe.runs):
        count = 1
        for kind in RUN_KEYS:
            have, names = getattr(recipe, kind), getattr(part, kind)
            for name in names or ():
                if name not in have:
                    raise InputError(
                        f"{where}: runs[{index}].{kind}: unknown {kind[:-1]} {name!r}{nearest(name, have)}"
                    )
            count *= len(have if names is None else names)
        n_runs += count
    if n_runs > MAX_RUNS:
        raise InputError(f"{where} describes {n_runs} runs; expected at most {MAX_RUNS}")


def _all_runs(recipe: Recipe, *, where: str) -> list[PlannedRun]:
    """Every run, in the recipe's order."""
    cells = _cells(recipe)
    made = {setting: _task(recipe, setting, where=where) for setting in dict.fromkeys(cell[1] for cell in cells)}
    return [
        _plan(recipe, made[setting], size=size, setting=setting, seed=seed, where=where)
        for size, setting, seed in cells
    ]


def _task(recipe: Recipe, setting: str, *, where: str) -> Task:
    """The task of a setting's runs."""
    from interp import plugins
    from interp.tasks import task

    over = recipe.settings[setting] or Setting()
    at = f"{where}: settings.{setting}.task" if over.task else f"{where}: task.params"
    try:
        plugins.load("tasks", recipe.task.name)
    except InputError as error:
        raise InputError(f"{where}: task.name: {error}") from None
    try:
        return task(recipe.task.name, **{**(recipe.task.params or {}), **(over.task or {})})
    except InputError as error:
        raise InputError(f"{at}: {error}") from None
    except (TypeError, ValueError, OverflowError, RuntimeError, MemoryError) as error:
        raise InputError(f"{at} do not work: {' '.join(str(error).split())}") from None


def _plan(recipe: Recipe, made: Task, *, size: str, setting: str, seed: int, where: str) -> PlannedRun:
    """The recipe with one size and one setting laid over it."""
    over = recipe.settings[setting] or Setting()
    model = {"architecture": "native", **(recipe.model or {}), **(recipe.sizes[size] or {}), **(over.model or {})}
    model = {"n_ctx": made.n_ctx, "d_vocab": len(made.vocab), "d_vocab_out": len(made.vocab), **model}
    if model["d_vocab"] < len(made.vocab) or model["n_ctx"] < made.n_ctx:
        raise InputError(
            f"{where}: sizes.{size}: d_vocab is {model['d_vocab']} and n_ctx {model['n_ctx']}; the task needs a "
            f"vocabulary of {len(made.vocab)} and {made.n_ctx} positions"
        )
    steps, batch = over.steps or recipe.steps, over.batch or recipe.batch
    own = over.interventions is not None
    interventions = plan_interventions(
        over.interventions if over.interventions is not None else recipe.interventions,
        model=model,
        steps=steps,
        modulus=made.structure.modulus,
        seed=seed,
        where=f"{where}: settings.{setting}" if own else where,
    )
    return PlannedRun(
        family=recipe.name,
        size=size,
        setting=setting,
        seed=seed,
        task={"name": made.name, "params": dict(made.params)},
        model=model,
        optimizer=_optimizer({**recipe.optimizer, **(over.optimizer or {})}, where=where),
        steps=steps,
        batch=None if batch == "full" else batch,
        checkpoints=_checkpoints(recipe.checkpoints, over.checkpoints, steps, where=where),
        loss_dtype=over.loss_dtype or recipe.loss_dtype,
        interventions=interventions,
    )


def _optimizer(asked: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    name = asked.get("name", "adamw")
    if not isinstance(name, str) or name not in OPTIMIZERS:
        raise InputError(f"{where}: optimizer.name: {unknown('optimizer', name, OPTIMIZERS)}")
    fits = {
        "warmup": whole(),
        "momentum": number(0, 1, with_ends=True),
        "eps": number(0),
        "lr": number(0),
        "betas": _BETAS,
    }
    for key, value in asked.items():
        if key != "name" and key not in OPTIMIZERS[name]:
            known = ("name", *OPTIMIZERS[name])
            raise InputError(f"{where}: optimizer {name} has no key {short(key)}{nearest(key, known)}")
        fit = fits.get(key, number(0, with_ends=True))
        if key != "name" and not fit.test(value):
            raise InputError(f"{where}: optimizer.{key} is {short(value)}; expected {fit.phrase}")
    return {"name": name, **OPTIMIZERS[name], **asked}


_BETAS = Fits(
    "two numbers from 0 to below 1",
    lambda value: (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(number(0, 1, with_ends=True).test(beta) and beta < 1 for beta in value)
    ),
)


def _checkpoints(own: Schedule, over: Schedule, steps: int, *, where: str) -> dict[str, int]:
    asked = {
        key: value
        for key in ("log", "every")
        if (value := getattr(own if getattr(over, key) is None else over, key)) is not None
    }
    if (every := asked.get("every", 0)) and steps // every > MAX_CHECKPOINTS:
        raise InputError(
            f"{where}: checkpoints.every is {every}: that makes {steps // every} checkpoints of {steps} steps; "
            f"expected at most {MAX_CHECKPOINTS}"
        )
    return asked
