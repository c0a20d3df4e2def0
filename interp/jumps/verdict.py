"""What a detector is asked (Limits) and what it answers (a Verdict of Rises)."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """min_magnitude: smallest change that counts, as a share of the measure's range.
    max_width: widest 10-90 % rise that is abrupt, in decades of steps.
    max_checkpoints: a rise over at most so many intervals of the grid is abrupt too (the grid cannot resolve it).
    level: significance level against serially dependent noise, a curve.
    sharpness: evidence (n ln SSE ratio, deflated for serial dependence) by which a narrow rise must beat a wide one.
    confirm: whether a change needs two checkpoints on either side (one could be a spike).
    dependent: whether neighbouring errors may be alike, as those of one run's checkpoints are and those of models of
        different sizes are not.
    """

    min_magnitude: float = 0.1
    max_width: float = 0.5
    max_checkpoints: int = 2
    level: float = 0.05
    sharpness: float = 0.0
    confirm: bool = True
    dependent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rise:
    """One change between two levels. before, after: indices of checkpoints; midpoint, low, high: on the log axis.

    kind: "abrupt", "gradual", "spike", or "undetermined" where only the first or the last checkpoint shows it.
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
