"""BIG-bench's breakthroughness and linearity, with what is needed to read them: a null and the dependence on the grid.

I(y) = sign(argmax y - argmin y) (max y - min y); B = I / sqrt(median(diff(y)^2)); L = I /
sqrt(mean(diff(y)^2)) (Srivastava et al. 2022, the differences being those of neighbouring checkpoints). A
straight line of n points has B = L = n - 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from interp.jumps.null import autoregressive

NULL_SERIES = 1000
SUBSETS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One of the two figures. scaled: divided by n - 1. p_value: share of trendless series, whose errors
    depend serially as the curve's do, with a figure at least as large in size. low, high: 5-95 % of `scaled`
    over grids thinned to two thirds."""

    value: float
    scaled: float
    p_value: float
    low: float
    high: float


def improvement(y: Float[ndarray, "*curve point"]) -> Float[ndarray, "*curve"]:
    """Range of the values, negative where the largest comes before the smallest; of ties the first counts."""
    return np.sign(y.argmax(-1) - y.argmin(-1)) * np.ptp(y, axis=-1)


def breakthroughness(y: Float[ndarray, "*curve point"]) -> Float[ndarray, "*curve"]:
    """B; NaN where the median squared difference is 0 (a flat curve with a step) or there are fewer than two points."""
    return _ratio(y, np.median)


def linearity(y: Float[ndarray, "*curve point"]) -> Float[ndarray, "*curve"]:
    """L; NaN where the curve is constant or has fewer than two points."""
    return _ratio(y, np.mean)


def shapes(y: Float[ndarray, "point"], rho: float = 0.0) -> tuple[Shape, Shape]:
    """B and L of a curve, with null and band. rho: lag-1 autocorrelation of the errors."""
    n_points = len(y)
    if n_points < 2:
        nothing = Shape(value=np.nan, scaled=np.nan, p_value=np.nan, low=np.nan, high=np.nan)
        return nothing, nothing
    null = _null(n_points, round(rho, 1))
    thinned = y[_subsets(n_points)]
    made = []
    for figure, null_values in zip((breakthroughness, linearity), null, strict=True):
        value = float(figure(y))
        p = (1 + int((np.abs(null_values) >= abs(value)).sum())) / (1 + len(null_values))
        scaled = figure(thinned) / (thinned.shape[1] - 1)
        scaled = scaled[np.isfinite(scaled)]
        low, high = np.quantile(scaled, [0.05, 0.95]) if len(scaled) else (np.nan, np.nan)
        made.append(
            Shape(
                value=value,
                scaled=value / (n_points - 1),
                p_value=p if np.isfinite(value) else np.nan,
                low=float(low),
                high=float(high),
            )
        )
    return made[0], made[1]


def _ratio(y: Float[ndarray, "*curve point"], average: object) -> Float[ndarray, "*curve"]:
    y = np.asarray(y, float)
    if y.shape[-1] < 2:
        return np.full(y.shape[:-1], np.nan)
    size = np.sqrt(average(np.diff(y, axis=-1) ** 2, axis=-1))  # type: ignore[operator]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size > 0, improvement(y) / size, np.nan)


@lru_cache(maxsize=256)
def _null(n_points: int, rho: float) -> tuple[Float[ndarray, "series"], Float[ndarray, "series"]]:
    noise = autoregressive(NULL_SERIES, n_points, rho, np.random.default_rng([n_points, round(10 * rho)]))
    return breakthroughness(noise), linearity(noise)


@lru_cache(maxsize=256)
def _subsets(n_points: int) -> Int[ndarray, "subset kept"]:
    rng = np.random.default_rng(n_points)
    kept = max(2, int(np.ceil(2 * n_points / 3)))
    order = rng.random((SUBSETS, n_points)).argsort(1)[:, :kept]
    return np.sort(order, axis=1)
