"""The analysis, fixed before it is run: every choice of the protocol in one frozen record, and its digest."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from interp.errors import InputError, unknown

BASELINES = (
    "exact_match", "accuracy", "train_accuracy", "log_prob", "train_loss", "test_loss", "loss", "brier", "logit_diff",
    "ppl", "weight_norm", "logit_scale",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Every choice of the protocol.

    target: the behaviour; None is `exact_match`, else `accuracy`.
    event: `before` takes T = the last checkpoint below 10 % of the rise, `midpoint` the half-way point.
    min_magnitude: the least rise of the target that is an event.
    half_decade: H, the factor of the alarm window [T/H, (1 − delta) T] and of the null stretch t·H < T.
    rates: false-alarm rates at which coverage is given; the first that the runs allow decides `leading`.
    horizon: h, the factor of the label "T in (t, h·t]" of the gain and of the horizon scores.
    landmarks: how many landmarks C/h, C/h², … the horizon is scored at.
    budget_shares: the shares of the budget from which the step of the jump is forecast.
    level: nominal coverage of the gain's interval; forecast_level: of the intervals of a forecast step.
    folds, permutations, shifts, bootstraps: how much is computed.
    baselines: measures that are trivial; the other behaviours of the task are too.
    indicators: the only ones to be scored (None: all).
    shuffled: settings whose runs were trained on shuffled labels: an alarm in them warns of nothing.
    explore: the share of each setting's runs that belongs to the exploring part.
    """

    target: str | None = None
    event: str = "before"
    min_magnitude: float = 0.2
    half_decade: float = math.sqrt(10)
    delta: float = 0.1
    rates: tuple[float, ...] = (0.05, 0.10, 0.20)
    horizon: float = 2.0
    landmarks: int = 6
    budget_shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5)
    level: float = 0.95
    forecast_level: float = 0.8
    folds: int = 5
    permutations: int = 199
    shifts: int = 99
    bootstraps: int = 2000
    baselines: tuple[str, ...] = BASELINES
    indicators: tuple[str, ...] | None = None
    shuffled: tuple[str, ...] = ()
    explore: float = 0.5
    seed: int = 0

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of the canonical JSON of every field."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return "sha256:" + sha256(text.encode()).hexdigest()


def read_spec(source: Spec | Mapping[str, Any] | str | Path | None) -> Spec:
    """A spec from a record, a mapping or a YAML file of its fields; None is the default.

    Raises:
        InputError: an unknown field, a value of the wrong type or outside its range.
    """
    if isinstance(source, Spec):
        spec = source
    else:
        spec = Spec(**_fields(_mapping(source)))
    _check(spec)
    return spec


def _mapping(source: Mapping[str, Any] | str | Path | None) -> Mapping[str, Any]:
    if source is None or isinstance(source, Mapping):
        return source or {}
    import yaml

    path = Path(source)
    if not path.is_file():
        raise InputError(f"no analysis spec at {path}")
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds {type(content).__name__}; expected the fields of a spec")
    return content


def _fields(content: Mapping[str, Any]) -> dict[str, Any]:
    known = {field.name for field in dataclasses.fields(Spec)}
    for name in content:
        if name not in known:
            raise unknown("field of an analysis spec", name, known)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}


def _check(spec: Spec) -> None:
    """Every field has the type of its default, and lies where the protocol makes sense."""
    default = Spec()
    for field in dataclasses.fields(Spec):
        value, like = getattr(spec, field.name), getattr(default, field.name)
        number = isinstance(like, (int, float)) and isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (like is None or number or isinstance(value, type(like))):
            raise InputError(f"spec: {field.name} is {value!r}; expected {type(like).__name__}, as in {like!r}")
    between = {
        "delta": (0, 1),
        "level": (0, 1),
        "forecast_level": (0, 1),
        "explore": (0, 1),
        "min_magnitude": (0, math.inf),
    }
    between |= {"half_decade": (1, math.inf), "horizon": (1, math.inf)}
    for name, (low, high) in between.items():
        if not low < getattr(spec, name) < high:
            raise InputError(f"spec: {name} is {getattr(spec, name)!r}; expected between {low} and {high}")
    least = {"folds": 2, "permutations": 0, "shifts": 0, "bootstraps": 1, "landmarks": 1, "seed": 0}
    for name, low in least.items():
        value = getattr(spec, name)
        if not isinstance(value, int) or value < low:
            raise InputError(f"spec: {name} is {value!r}; expected a whole number of at least {low}")
    if 0 < spec.permutations < 19:
        raise InputError(f"spec: permutations is {spec.permutations}; a p-value of .05 needs 19 (0: no family-wise p)")
    for name in ("rates", "budget_shares"):
        if not getattr(spec, name) or not all(isinstance(x, float) and 0 < x < 1 for x in getattr(spec, name)):
            raise InputError(f"spec: {name} is {getattr(spec, name)!r}; expected shares between 0 and 1")
    for name, what in {"baselines": "measures", "indicators": "measures", "shuffled": "settings"}.items():
        if not all(isinstance(x, str) for x in getattr(spec, name) or ()):
            raise InputError(f"spec: {name} is {getattr(spec, name)!r}; expected names of {what}")
    if spec.event not in ("before", "midpoint"):
        raise unknown("event of a spec", spec.event, ("before", "midpoint"))
