"""A recipe: what a family of small models is grown from, as the record that its YAML file is checked against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from interp.documents import short
from interp.documents.records import (
    Distinct,
    Fields,
    Fits,
    Label,
    Line,
    Name,
    Plain,
    number,
    one_of,
    or_null,
    record,
    whole,
)
from interp.errors import InputError
from interp.families.intervening import TrainingIntervention

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
    interventions: tuple[TrainingIntervention, ...] | None = None
    """Instead of the recipe's."""


@record
class Part:
    """The runs of some sizes, settings and seeds; of all where a key is left out."""

    sizes: Annotated[tuple[Line, ...], Distinct] | None = None
    """Their sizes."""
    settings: Annotated[tuple[Line, ...], Distinct] | None = None
    """Their settings."""
    seeds: Annotated[tuple[Annotated[int, whole()], ...], Distinct] | None = None
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
    seeds: Annotated[tuple[Annotated[int, whole()], ...], Field(min_length=1), Distinct] = (0,)
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
    interventions: tuple[TrainingIntervention, ...] = ()
    """What is done to the runs while they train."""
    about: Annotated[str, Fits("text", lambda value: isinstance(value, str))] = ""
    """For people."""
