"""A recipe: what a family of small models is grown from. A YAML file in, a list of planned runs out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from interp.documents import named, read_document, short
from interp.documents.records import (
    Fields,
    Fits,
    Label,
    Line,
    Name,
    Plain,
    number,
    one_of,
    or_null,
    read_record,
    record,
    whole,
)
from interp.errors import InputError, nearest, unknown
from interp.families.schedule import schedule

if TYPE_CHECKING:
    from interp.types import Task

OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "adamw": {"lr": 1e-3, "weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "warmup": 0},
    "sgd": {"lr": 1e-2, "weight_decay": 0.0, "momentum": 0.0, "warmup": 0},
}
"""What can be set, and PyTorch's own values where nothing is."""

LOSS_DTYPES = ("float32", "float64")
RUN_KEYS = ("sizes", "settings", "seeds")
MAX_RUNS = 10_000
"""Of a recipe. A choice: a run has a folder of its own, and takes seconds at least."""

MAX_CHECKPOINTS = 100_000
"""Of a run. A choice: each is a folder of three files."""

_SIDE = whole(1, 2**20)
_YES = Fits("true or false", lambda value: isinstance(value, bool))
MODEL: Mapping[str, Fits] = {
    "architecture": one_of("native"),
    **dict.fromkeys(("d_model", "d_head", "n_heads", "d_vocab", "d_vocab_out", "n_ctx"), _SIDE),
    "n_layers": whole(1, 10_000),
    **dict.fromkeys(("attn_only", "gated_mlp", "final_rms", "use_attn_scale", "scale_attn_by_inverse_layer_idx"), _YES),
    **dict.fromkeys(("d_mlp", "n_key_value_heads", "rotary_dim"), or_null(_SIDE)),
    **dict.fromkeys(("rotary_base", "eps", "initializer_range"), number(0)),
    "normalization_type": one_of("LN", "LNPre", "RMS", "RMSPre", None),
    "positional_embedding_type": one_of("standard", "rotary"),
    "act_fn": one_of("relu", "gelu", "gelu_new", "silu", "swish", "solu", "solu_ln"),
    "attention_dir": one_of("causal", "bidirectional"),
    "seed": or_null(whole()),
}
"""Fields of a native model that recipes set, and what they may be (TransformerLens' NativeModel; sizes up to 2^20 are a
choice). The other fields' names are TransformerLens' to check."""


def _of_model(fields: Mapping[str, Any] | None) -> Mapping[str, Any]:
    for name, value in (fields or {}).items():
        if name in MODEL and not MODEL[name].test(value):
            raise InputError(f"{name} is {short(value)}; expected {MODEL[name].wanted(value)}")
    return fields or {}


Model = Annotated[Fields, AfterValidator(_of_model)]
Batch = Annotated[
    Any, Fits("'full' or a whole number of at least 1", lambda value: value == "full" or whole(1).test(value))
]


@record
class TaskOf:
    """The skill that a family learns."""

    name: Line
    """A task's name, or a third party's `package.module:function`."""
    params: Fields = Field(default_factory=dict)
    """Its difficulty parameters."""


@record
class Schedule:
    """Which steps are stored: the first and the last, `log` of them evenly spaced in log step, and each `every`-th."""

    log: Annotated[int, whole(0, MAX_CHECKPOINTS)] | None = None
    """How many steps, evenly spaced in log step."""
    every: Annotated[int, whole()] | None = None
    """Each of its multiples; 0 for none."""


@record
class Setting:
    """What a setting lays over the recipe's own."""

    task: Fields = Field(default_factory=dict)
    """Parameters of the task."""
    model: Model = Field(default_factory=dict)
    """Fields of the model."""
    optimizer: Fields = Field(default_factory=dict)
    """Of the optimiser."""
    checkpoints: Schedule = Field(default_factory=Schedule)
    """Of the schedule."""
    steps: Annotated[int, whole(1)] | None = None
    """As the recipe's."""
    batch: Batch | None = None
    """As the recipe's."""
    loss_dtype: Annotated[str, one_of(*LOSS_DTYPES)] | None = None
    """As the recipe's."""


@record
class Part:
    """The runs of some sizes, settings and seeds; of all where a key is left out."""

    sizes: tuple[Line, ...] | None = None
    """Their sizes."""
    settings: tuple[Line, ...] | None = None
    """Their settings."""
    seeds: tuple[Annotated[int, whole()], ...] | None = None
    """Their seeds."""


@record
class Recipe:
    """A family to grow: the product of sizes, settings and seeds, or the parts of it that `runs` lists."""

    name: Name
    """The family's name: a folder of the store."""
    task: TaskOf
    """The skill that it learns."""
    model: Model
    """Fields of TransformerLens' NativeModel, for all sizes (`n_ctx` and the vocabularies are the task's by default)."""
    steps: Annotated[int, whole(1)]
    """Optimiser steps of a run; no run stops before."""
    sizes: Annotated[Mapping[Label, Model], Field(min_length=1)]
    """Name: fields of the model."""
    settings: Annotated[Mapping[Label, Setting | None], Field(min_length=1)] = Field(
        default_factory=lambda: {"base": None}
    )
    """Name: what it lays over the recipe's own."""
    seeds: Annotated[tuple[Annotated[int, whole()], ...], Field(min_length=1)] = (0,)
    """Of weights, split and batches."""
    runs: Annotated[tuple[Part, ...], Field(min_length=1)] = (Part(),)
    """Parts of the product; the whole of it where it is left out."""
    optimizer: Plain = Field(default_factory=lambda: {"name": "adamw"})
    """`name` (adamw, sgd), lr, weight_decay, betas, eps, momentum, and `warmup`: steps up to the full rate."""
    batch: Batch = "full"
    """Sequences in a step, or `full`: the whole training split."""
    checkpoints: Schedule = Field(default_factory=lambda: Schedule(log=40))
    """Which steps are stored."""
    loss_dtype: Annotated[str, one_of(*LOSS_DTYPES)] = "float64"
    """In what precision the loss is computed."""
    about: Annotated[str, Fits("text", lambda value: isinstance(value, str))] = ""
    """For people."""


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
    cells: dict[tuple[str, str, int], None] = {}
    for part in recipe.runs:
        chosen = (getattr(part, kind) for kind in RUN_KEYS)
        names = (
            getattr(recipe, kind) if given is None else given for kind, given in zip(RUN_KEYS, chosen, strict=True)
        )
        cells |= dict.fromkeys(product(*names))
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
