"""What a detector is asked (Limits), what it answers (a Verdict of Rises), and the rule by which a rise gets its kind."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from numpy import ndarray

from interp.jumps.instrument import INSTRUMENT
from interp.table.events import LEAST_RISE


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """min_magnitude: smallest change that counts, as a share of the measure's range.
    max_width: widest 10-90 % rise that is abrupt, in decades of steps.
    level: significance level against serially dependent noise, a curve.
    confirm: whether a plateau needs two checkpoints (one could be a spike).
    dependent: whether neighbouring errors may be alike, as those of one run's checkpoints are and those of models of
        different sizes are not.
    """

    min_magnitude: float = LEAST_RISE
    max_width: float = 0.5
    level: float = 0.05
    confirm: bool = True
    dependent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rise:
    """One change between two plateaus of the fitted curve, up or down.

    kind: "abrupt", "gradual", "undetermined" (`reason` says why), or "spike".
    before, after: indices of the last checkpoint below 10 % of it and of the first above 90 %; of a spike, its neighbours.
    midpoint, low, high: where half of it is done with the 95 % band, on the log axis.
    width, width_low, width_high: its 10-90 % width in decades, and the least and widest that the data leave open
        (infinite where a straight line through the whole range is open).
    value_before, value_after: the fitted curve's plateaus; magnitude is their difference.
    left_censored: under way or complete at the second checkpoint, so that the grid does not show its beginning.
    """

    kind: str
    before: int
    after: int
    midpoint: float
    low: float
    high: float
    width: float
    magnitude: float
    p_value: float
    width_low: float = math.nan
    width_high: float = math.nan
    value_before: float = math.nan
    value_after: float = math.nan
    left_censored: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdict:
    """rises: the changes and spikes that were found, in order. p_value: of the curve without its spikes against noise.
    rho: the lag-1 autocorrelation of the errors. fitted: the smooth curve at the checkpoints. reason: why the
        curve cannot be judged.
    """

    rises: tuple[Rise, ...] = ()
    p_value: float = float("nan")
    rho: float = 0.0
    fitted: Float[ndarray, "point"] | None = None
    reason: str | None = None


def kind_of(
    width_low: float, width_high: float, limits: Limits, *, gap: float, unfinished: str = ""
) -> tuple[str, str | None]:
    """The rule: a rise's kind and, where it is undetermined, the reason.

    width_low, width_high: the 10-90 % widths, in decades, of the readings that fit the data; a straight line through
        the whole range seen is infinitely wide, since it shows no plateau.
    gap: the grid's spacing at the rise, in decades: the width that it resolves.
    unfinished: "" or what is missing of a rise no wider than `limits.max_width` that the range cuts off.

    Abrupt where every reading that fits is at most `max_width` wide, gradual where every one is wider, to within a tenth
    of it; undetermined where readings of both kinds fit, or where the only narrow ones are cut off.
    """
    if unfinished:
        return "undetermined", unfinished
    if width_low <= limits.max_width and width_high <= INSTRUMENT.alike * limits.max_width:
        return "abrupt", None
    if width_low > limits.max_width / INSTRUMENT.alike:
        return "gradual", None
    wide = f"{width_high:.2g} decades" if math.isfinite(width_high) else "the whole range"
    fits = f"widths from {width_low:.2g} decades to {wide} fit"
    return "undetermined", f"{fits}: abrupt and gradual alike (checkpoints {gap:.2g} decades apart at the rise)"
