"""One curve as the detectors see it: a log-step axis, a scale on which changes are judged, known errors, the
measure's range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from interp.table.events import tick

# Measures that live in [0, 1]; a change of .1 is a tenth of their range whatever a run happens to cover.
UNIT_RANGE = (
    "exact_match",
    "exact_match_under",
    "accuracy",
    "acc_norm",
    "token_accuracy",
    "probability",
    "prob",
    "f1",
    "brier",
)
LOG_SCALE = ("ppl", "perplexity", "word_perplexity", "byte_perplexity")

# Changes below this share of the range are not resolved by any measure here; it keeps exact fits finite.
RESOLUTION = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """A curve with missing values removed, ordered by step.

    steps: as given. x: log10 of the steps, steps <= 0 standing at half the first positive one.
    y: the values on the scale that is judged ("ln" for perplexities, where all are positive, else "linear").
    sigma: standard error of each value from `stderr` or a binomial with `n`, on the same scale; 0 where
        nothing is known.
    n: examples behind each value, NaN where unknown.
    span: the range of the measure on that scale; magnitudes are compared with it.
    """

    steps: Float[ndarray, "point"]
    x: Float[ndarray, "point"]
    y: Float[ndarray, "point"]
    sigma: Float[ndarray, "point"]
    n: Float[ndarray, "point"]
    span: float
    scale: str = "linear"

    def __len__(self) -> int:
        return len(self.x)


def log_axis(steps: Float[ndarray, "point"]) -> Float[ndarray, "point"]:
    """log10(step), with steps <= 0 at half the first positive step; all at 0 where no step is positive."""
    return np.log10(tick(steps))


def make_curve(
    steps: Sequence[float] | ndarray,
    values: Sequence[float] | ndarray,
    *,
    measure: str = "",
    stderr: Sequence[float] | ndarray | None = None,
    n: Sequence[float] | ndarray | float | None = None,
    span: float | None = None,
) -> Curve:
    """The curve of `values` at `steps`; points that are NaN or share an abscissa with a later one are left out.

    span: the range of the measure on the scale that is judged; by default 1 for accuracies, else what the curve covers.
    """
    at, value = np.asarray(steps, float), np.asarray(values, float)
    error = _errors(value, stderr, n)
    order = np.argsort(at, kind="stable")
    order = order[np.isfinite(value[order])]
    if len(order):
        order = order[np.append(np.diff(log_axis(at[order])) > 0, True)]
    counts = np.broadcast_to(np.asarray(np.nan if n is None else n, float), at.shape)
    at, value, error, counts = at[order], value[order], error[order], counts[order]
    scale = scale_of(measure, value)
    y = np.log(value) if scale == "ln" else value
    sigma = error / value if scale == "ln" else error
    covered = float(np.ptp(y)) if len(y) else 0.0
    known = default_range(measure, value) if span is None else span
    x, known = log_axis(at), covered if known is None else known
    return Curve(steps=at, x=x, y=y, sigma=sigma, n=counts, span=known, scale=scale)


def select(curve: Curve, kept: Int[ndarray, "kept"]) -> Curve:
    """The curve at some of its points; the range stays."""
    parts = {name: getattr(curve, name)[kept] for name in ("steps", "x", "y", "sigma", "n")}
    return replace(curve, **parts)


def standardise(curve: Curve) -> tuple[Curve, float]:
    """The curve with values from 0 to 1, and the unit that takes its differences back; as it is where it is constant."""
    unit = float(np.ptp(curve.y)) if len(curve) else 0.0
    if unit == 0 or not np.isfinite(unit):
        return curve, 1.0
    return replace(curve, y=(curve.y - curve.y.min()) / unit, sigma=curve.sigma / unit, span=curve.span / unit), unit


def base_name(measure: str) -> str:
    """The measure without the harness's filter and without its split: `exact_match,strict` and `test_accuracy`
    are known."""
    name = measure.partition(",")[0].lower()
    for prefix in ("test_", "train_", "val_", "eval_"):
        name = name.removeprefix(prefix)
    return {"acc": "accuracy", "em": "exact_match"}.get(name, name)


def scale_of(measure: str, values: Float[ndarray, "point"]) -> str:
    """ "ln" for perplexities whose values are all positive, else "linear"."""
    return "ln" if base_name(measure) in LOG_SCALE and len(values) and values.min() > 0 else "linear"


def default_range(measure: str, values: Float[ndarray, "point"]) -> float | None:
    """1 for accuracies (100 where they are percentages), None for measures without a bound."""
    name = base_name(measure)
    if name not in UNIT_RANGE and not name.startswith("pct_") and not name.endswith("_accuracy"):
        return None
    top = float(np.abs(values).max()) if len(values) else 1.0
    return 1.0 if top <= 1.5 else 100.0 if top <= 150 else None


def _errors(
    values: Float[ndarray, "point"],
    stderr: Sequence[float] | ndarray | None,
    n: Sequence[float] | ndarray | float | None,
) -> Float[ndarray, "point"]:
    """Standard errors: `stderr` where given, else sqrt(p(1-p)/n) with p = (k + 1/2)/(n + 1), so that 0 of n is
    not certain."""
    known = np.full(len(values), np.nan) if stderr is None else np.asarray(stderr, float).copy()
    if n is not None:
        counts = np.broadcast_to(np.asarray(n, float), values.shape)
        with np.errstate(invalid="ignore", divide="ignore"):
            p = (values * counts + 0.5) / (counts + 1)
            binomial = np.sqrt(np.clip(p * (1 - p), 0, None) / counts)
        fits = (values >= 0) & (values <= 1) & (counts > 0)
        known = np.where(np.isnan(known) & fits, binomial, known)
    return np.where(np.isfinite(known), known, 0.0)
