"""The analysis, fixed before it is run: every choice of the protocol in one frozen record, and its digest."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from interp.documents import read_document
from interp.documents.records import Fits, known_as, number, read_record, record, text, whole
from interp.table.events import DIRECTIONS, LEAST_RISE

BASELINES = (
    "exact_match", "accuracy", "train_accuracy", "log_prob", "train_loss", "test_loss", "loss", "brier", "logit_diff",
    "ppl", "weight_norm", "logit_scale",
)  # fmt: skip


def _measures(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(text().test(name) for name in value)


def _shares(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(_SHARE.test(x) for x in value)


def _permutations(value: Any) -> bool:
    return whole(0, MAX_DRAWS).test(value) and (value == 0 or value >= LEAST_PERMUTATIONS)


LEAST_PERMUTATIONS = 19
"""Below, no p-value reaches .05: the smallest is 1 / (permutations + 1)."""

MAX_DRAWS = 1_000_000
"""Of permutations, shifts and bootstraps. A choice: more is hours, and changes no verdict."""

_SHARE = number(0, 1)
Share = Annotated[float, _SHARE]
Shares = Annotated[tuple[float, ...], Fits("a list of numbers between 0 and 1", _shares)]
Factor = Annotated[float, number(1)]
Names = Annotated[tuple[str, ...], Fits("a list of names", _measures)]
Draws = Annotated[int, whole(0, MAX_DRAWS)]


@record
class Spec:
    """Every choice of the protocol."""

    target: Annotated[str, text()] | None = None
    """The behaviour; by default `exact_match`, else `accuracy`."""
    event: Annotated[str, known_as("event of a spec", lambda: ("before", "midpoint"))] = "before"
    """`before` takes T = the last checkpoint below 10 % of the rise, `midpoint` the half-way point."""
    direction: Annotated[str, known_as("direction of a spec", lambda: tuple(DIRECTIONS))] | None = None
    """`up` or `down`: whither the target improves; by default its name tells (`interp.table.events.sign_of`)."""
    min_magnitude: Annotated[float, number(0)] = LEAST_RISE
    """The least change of the target that is an event, as a share of its range."""
    margin: Annotated[float, number(0)] = 0.02
    """In bits a row. An indicator whose gain lies below the larger of it and of `margin_share` is not leading."""
    margin_share: Share = 0.1
    """The margin as a share of the target's own foresight: its gain over step and setting."""
    half_decade: Factor = math.sqrt(10)
    """H, the factor of the alarm window [T/H, (1 − delta) T] and of the null stretch t·H < T."""
    delta: Share = 0.1
    """The last share of the way to T in which an alarm comes too late."""
    rates: Shares = (0.05, 0.10, 0.20)
    """False-alarm rates at which coverage is given; the first that the runs allow decides `leading`."""
    horizon: Factor = 2.0
    """h, the factor of the label "T in (t, h·t]" of the gain and of the horizon scores."""
    landmarks: Annotated[int, whole(1, 1000)] = 6
    """How many landmarks C/h, C/h², … the horizon is scored at."""
    budget_shares: Shares = (0.1, 0.2, 0.3, 0.5)
    """The shares of the budget from which the step of the jump is forecast."""
    level: Share = 0.95
    """Nominal coverage of the gain's interval."""
    forecast_level: Share = 0.8
    """Nominal coverage of the intervals of a forecast step."""
    folds: Annotated[int, whole(2, 1000)] = 5
    """In how many parts the runs are left out."""
    permutations: Annotated[
        int, Fits("0, or a whole number of at least 19: a p-value of .05 needs 19", _permutations)
    ] = 199
    """Of the family-wise p-value; 0: none."""
    shifts: Draws = 99
    """Of the null of shifted curves."""
    bootstraps: Annotated[int, whole(1, MAX_DRAWS)] = 2000
    """Of the intervals."""
    baselines: Names = BASELINES
    """Measures that are trivial; the other behaviours of the task are too."""
    indicators: Names | None = None
    """The only ones to be scored; by default all."""
    rolling: Names = ()
    """Rolling statistics that are ranked beside them, as `log_prob.variance` (`interp.table.rolling`)."""
    shuffled: Names = ()
    """Settings whose runs were trained on shuffled labels: an alarm in them warns of nothing."""
    explore: Share = 0.5
    """The share of each setting's runs that belongs to the exploring part."""
    seed: Annotated[int, whole()] = 0
    """Of every draw."""

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of the canonical JSON of every field."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return "sha256:" + sha256(text.encode()).hexdigest()


def read_spec(source: Spec | Mapping[str, Any] | str | Path | None) -> Spec:
    """A spec from a record, a mapping or a YAML (or `.json`) file of its fields; None is the default.

    Raises:
        InputError: an unknown field, a value of the wrong type or outside its range.
    """
    if source is None or isinstance(source, Spec):
        return source or Spec()
    if isinstance(source, Mapping):
        return read_record(Spec, source, where="spec")
    return read_record(Spec, read_document(source, empty=True), where=f"spec {source}")
