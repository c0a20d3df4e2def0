"""A recipe: what a family of small models is grown from. A YAML file in, a list of planned runs out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

from interp.documents import check_keys, read_yaml
from interp.errors import InputError, unknown
from interp.families.schedule import schedule

OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "adamw": {"lr": 1e-3, "weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "warmup": 0},
    "sgd": {"lr": 1e-2, "weight_decay": 0.0, "momentum": 0.0, "warmup": 0},
}
LOSS_DTYPES = ("float32", "float64")
RUN_KEYS = ("sizes", "settings", "seeds")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlannedRun:
    """One run of a family, fully spelled out: what decides its bits, and nothing else.

    task: {"name", "params"}; model: config.json of the model; optimizer: with every default filled in.
    steps: the planned number of optimiser steps. batch: sequences a step, None for the whole training split.
    checkpoints: {"log", "every"} as `schedule` takes them.
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
        """sha256 of everything above."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def folder(self, root: str | Path) -> Path:
        """Where its checkpoints are, in the store `root`."""
        return Path(root) / self.family / self.size / self.setting / f"seed{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recipe:
    """A family to grow: the product of sizes, settings and seeds, or the parts of it that `runs` lists.

    sizes: name → fields of the model. settings: name → {"task": parameters, "model", "optimizer", "checkpoints",
    "steps", "batch", "loss_dtype"}, laid over the recipe's own. runs: mappings of "sizes", "settings", "seeds" to the
    names wanted (all where a key is absent).
    """

    name: str
    task: Mapping[str, Any]
    model: Mapping[str, Any]
    steps: int
    sizes: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"base": {}})
    seeds: Sequence[int] = (0,)
    runs: Sequence[Mapping[str, Any]] = ({},)
    optimizer: Mapping[str, Any] = field(default_factory=lambda: {"name": "adamw"})
    batch: int | str = "full"
    checkpoints: Mapping[str, int] = field(default_factory=lambda: {"log": 40})
    loss_dtype: str = "float64"
    about: str = ""


def load_recipe(source: str | Path | Mapping[str, Any] | Recipe) -> Recipe:
    """The recipe in a YAML file, or in a mapping of the same form.

    Raises:
        InputError: an unknown key or name (the nearest valid one is named), a key that is missing or a value out of
            range.
    """
    if isinstance(source, Recipe):
        return source
    raw = source if isinstance(source, Mapping) else read_yaml(source)
    where = "recipe" if isinstance(source, Mapping) else f"recipe {source}"
    check_keys(raw, [f.name for f in fields(Recipe)], where=where)
    for key in ("name", "task", "model", "steps", "sizes"):
        if key not in raw:
            raise InputError(f"{where} lacks the key {key!r}")
    recipe = Recipe(**raw)
    _check(recipe, where=where)
    _all_runs(recipe)  # each is spelled out and checked here, before anything is trained
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
    planned = _all_runs(load_recipe(recipe))
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


def _all_runs(recipe: Recipe) -> list[PlannedRun]:
    """Every run, in the recipe's order."""
    cells: dict[tuple[str, str, int], None] = {}
    for part in recipe.runs:
        named = (part.get(kind, getattr(recipe, kind)) for kind in RUN_KEYS)
        cells |= dict.fromkeys(product(*named))
    return [_plan(recipe, size=size, setting=setting, seed=seed) for size, setting, seed in cells]


def _check(recipe: Recipe, *, where: str) -> None:
    check_keys(recipe.task, ("name", "params"), where=f"{where}: task")
    if "name" not in recipe.task:
        raise InputError(f"{where}: task lacks the key 'name'")
    for kind in ("sizes", "settings"):
        table = check_keys(getattr(recipe, kind), getattr(recipe, kind), where=f"{where}: {kind}")
        for name in table:
            if not isinstance(name, str) or not name or set(name) & set("/:@ ") or name.startswith((".", "seed")):
                raise InputError(
                    f"{where}: {kind} has the name {name!r}; a name has no '/', ':', '@', space or 'seed' at its head"
                )
    if not isinstance(recipe.seeds, Sequence) or not all(_whole(seed, at_least=0) for seed in recipe.seeds):
        raise InputError(f"{where}: seeds is {recipe.seeds!r}, expected a list of whole numbers")
    for part in recipe.runs:
        check_keys(part, RUN_KEYS, where=f"{where}: runs")
        for kind, names in part.items():
            if not isinstance(names, list):
                raise InputError(f"{where}: runs: {kind} is {names!r}, expected a list")
            for name in names:
                if name not in getattr(recipe, kind):
                    raise unknown(f"{kind[:-1]} in runs of {where}", name, getattr(recipe, kind))


def _whole(value: Any, *, at_least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least


def _plan(recipe: Recipe, *, size: str, setting: str, seed: int) -> PlannedRun:
    """The recipe with one size and one setting laid over it."""
    where = f"{recipe.name}:{size}/{setting}"
    over = check_keys(
        recipe.settings[setting] or {},
        ("task", "model", "optimizer", "checkpoints", "steps", "batch", "loss_dtype"),
        where=f"setting {setting!r}",
    )
    from interp.tasks import task

    made = task(recipe.task["name"], **{**(recipe.task.get("params") or {}), **over.get("task", {})})
    model = {"architecture": "native", **recipe.model, **(recipe.sizes[size] or {}), **over.get("model", {})}
    model = {"n_ctx": made.n_ctx, "d_vocab": len(made.vocab), "d_vocab_out": len(made.vocab), **model}
    if model["d_vocab"] < len(made.vocab) or model["n_ctx"] < made.n_ctx:
        raise InputError(
            f"{where}: the task needs a vocabulary of {len(made.vocab)} and {made.n_ctx} positions; "
            f"the model has {model['d_vocab']} and {model['n_ctx']}"
        )
    return PlannedRun(
        family=recipe.name,
        size=size,
        setting=setting,
        seed=seed,
        task={"name": made.name, "params": dict(made.params)},
        model=model,
        optimizer=_optimizer({**recipe.optimizer, **over.get("optimizer", {})}, where=where),
        steps=_count(over.get("steps", recipe.steps), at_least=1, where=f"{where}: steps"),
        batch=_batch(over.get("batch", recipe.batch), where=where),
        checkpoints=_checkpoints({**recipe.checkpoints, **over.get("checkpoints", {})}, where=where),
        loss_dtype=_one_of(over.get("loss_dtype", recipe.loss_dtype), LOSS_DTYPES, kind="loss_dtype"),
    )


def _optimizer(asked: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    name = _one_of(asked.get("name", "adamw"), OPTIMIZERS, kind="optimizer")
    check_keys(asked, ("name", *OPTIMIZERS[name]), where=f"{where}: optimizer {name}")
    filled = {"name": name, **OPTIMIZERS[name], **asked}
    for key, value in filled.items():
        numbers = value if key == "betas" and isinstance(value, list) and len(value) == 2 else [value]
        if key != "name" and not all(
            isinstance(v, int | float) and not isinstance(v, bool) and v >= 0 for v in numbers
        ):
            raise InputError(f"{where}: optimizer {key} is {value!r}, expected a number of at least 0")
    return filled


def _checkpoints(asked: Mapping[str, Any], *, where: str) -> dict[str, int]:
    check_keys(asked, ("log", "every"), where=f"{where}: checkpoints")
    return {key: _count(value, at_least=0, where=f"{where}: checkpoints {key}") for key, value in asked.items()}


def _batch(asked: Any, *, where: str) -> int | None:
    return None if asked == "full" else _count(asked, at_least=1, where=f"{where}: batch (a number, or 'full')")


def _count(value: Any, *, at_least: int, where: str) -> int:
    if not _whole(value, at_least=at_least):
        raise InputError(f"{where} is {value!r}, expected a whole number of at least {at_least}")
    return value


def _one_of(value: Any, choices: Any, *, kind: str) -> str:
    if value not in choices:
        raise unknown(kind, value, choices)
    return value
