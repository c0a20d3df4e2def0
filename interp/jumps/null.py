"""The calibrated null: how well sigmoids fit noise that has no jump.

Checkpoints scored on the same examples have serially dependent errors, so the null is not white: first-order
autoregressive series with coefficients from 0 to .97 go through the very fit that the curve goes through, and
the curve is compared with those whose *residuals* have an autocorrelation near its own. The coefficient is not
plugged in: of all coefficients that the residuals do not rule out, the one that explains the curve best counts. Such a
series wanders but does not leap, so that the largest leap of a curve is a second statistic. A null is simulated once a
number of checkpoints, and kept.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import ndtr

from interp.jumps.detectors._atoms import greedy, grid_of, pursue
from interp.jumps.instrument import INSTRUMENT

COEFFICIENTS = (0.0, 0.2, 0.4, 0.6, 0.75, 0.85, 0.92, 0.97)
SERIES = 320
NEIGHBOURS = 100
RULED_OUT = 0.02
MOST_DEPENDENCE = 0.9
LEAP_SHARE = 0.1  # of the level, spent on the second statistic
FEWEST_LEAPS = 9
_SIZES = sorted({*range(5, 13), *np.geomspace(12, 400, 20).round().astype(int).tolist()})


def max_terms(n_points: int) -> int:
    """How many sigmoids a curve of so many checkpoints can bear."""
    return int(np.clip((n_points - 1) // 4, 1, INSTRUMENT.most_terms))


def p_value(
    statistic: float,
    lag: float,
    *,
    n_points: int,
    n_terms: int,
    leap: float = 0.0,
    dependent: bool = True,
) -> float:
    """The largest P(null statistic >= statistic) over the coefficients that residuals of a lag-1 near `lag` leave open.

    statistic: ln(SSE of a constant / SSE of the fit), after `n_terms` sigmoids. leap: that of `leaps`; the p-value is
    that of the more telling of the two, each at its share of the level. A coefficient is ruled out where `lag`
    lies in either RULED_OUT tail of its own series; where all are, the nearest counts. Beyond the 95 % quantile of the
    NEIGHBOURS series of nearest lag the tail is exponential.
    """
    nearest = min(_SIZES, key=lambda size: abs(np.log(size / n_points)))
    statistics, lags, leapt = _null(nearest, min(n_terms, max_terms(nearest)))
    if dependent:
        below = (lags <= lag).mean(1)
        left_open = np.minimum(below, 1 - below) >= RULED_OUT
        if not left_open.any():
            left_open = np.arange(len(lags)) == np.abs(np.median(lags, axis=1) - lag).argmin()
    else:
        left_open = np.arange(len(lags)) == 0
    lags, statistics, leapt = lags[left_open], statistics[left_open], leapt[left_open]
    near = np.argsort(np.abs(lags - lag), axis=1, kind="stable")[:, : NEIGHBOURS if dependent else None]
    fitted = _tail(np.take_along_axis(statistics, near, axis=1), statistic)
    leaping = _tail(np.take_along_axis(leapt, near, axis=1), leap)
    return min(fitted / (1 - LEAP_SHARE), leaping / LEAP_SHARE, 1.0)


def by_known_errors(y: Float[ndarray, "point"], sigma: Float[ndarray, "point"]) -> float:
    """The chance that known errors set two stretches of a curve as far apart, any cut's two sides (of two checkpoints at
    least) or two thirds; 1 where none are known.

    Errors may be one and the same within a stretch, since checkpoints share examples, but not opposite: a stretch counts as
    one checkpoint, every pair as a trial. The autoregressive null does not know how large errors are, so that a straight
    climb of many standard errors looks like one slow error to it.
    """
    if not (sigma > 0).all():
        return 1.0
    n_points = len(y)
    one, two = n_points // 3, 2 * n_points // 3
    cuts = [(0, cut, cut, n_points) for cut in range(2, n_points - 1)]
    a, b, c, d = np.array([*cuts, (0, one, one, two), (0, one, two, n_points), (one, two, two, n_points)]).T
    sums = np.cumsum(np.pad([y, sigma], ((0, 0), (1, 0))), axis=1)
    (left, s), (right, t) = (sums[:, b] - sums[:, a]) / (b - a), (sums[:, d] - sums[:, c]) / (d - c)
    apart = float((np.abs(left - right) / np.hypot(s, t)).max())
    return float(min(2 * len(a) * ndtr(-apart), 1.0))


def leaps(y: Float[ndarray, "curve point"], least: float = 0.0) -> Float[ndarray, "curve"]:
    """The largest difference between the means of two neighbouring pairs of checkpoints, over the root mean square of
    these differences without the three largest, and without less than `least`; 0 where there are few."""
    if y.shape[1] < FEWEST_LEAPS:
        return np.zeros(len(y))
    pairs = (y[:, 1:] + y[:, :-1]) / 2
    size = np.sort(np.abs(pairs[:, 2:] - pairs[:, :-2]), axis=1)
    return np.asarray(size[:, -1] / np.maximum(np.sqrt((size[:, :-3] ** 2).mean(1)), max(least, 1e-12)))


def _tail(values: Float[ndarray, "coefficient series"], statistic: float) -> float:
    """The largest share, over coefficients, of the values at or above the statistic; beyond their 95 % quantile an
    exponential of the mean excess."""
    edges, knees = np.quantile(values, [0.95, 0.8], axis=1)
    if (statistic <= edges).any():  # beyond no edge is the share less than at one
        return float(max((values[statistic <= edges] >= statistic).mean(1).max(), 0.05))
    excess = [max((own[own > knee] - knee).mean(), 1e-9) for own, knee in zip(values, knees, strict=True)]
    return float(max((0.05 * np.exp(-(statistic - edges) / excess)).max(), 1e-12))


def dependence(lag: float, *, n_points: int, n_terms: int) -> float:
    """The lag-1 coefficient, to one decimal, to expect of errors whose residuals after `n_terms` sigmoids show `lag`.

    The mean coefficient of the null series with residuals like that, each weighted by what is left of 1, since the
    coefficients that were simulated crowd there; a fit eats dependence, so it lies above `lag`.
    """
    nearest = min(_SIZES, key=lambda size: abs(np.log(size / n_points)))
    _, lags, _ = _null(nearest, min(n_terms, max_terms(nearest)))
    near = np.argsort(np.abs(lags - lag), axis=None, kind="stable")[: 4 * NEIGHBOURS]
    coefficients = np.repeat(COEFFICIENTS, SERIES)[near]
    return min(round(float(np.average(coefficients, weights=1 - coefficients)), 1), MOST_DEPENDENCE)


_Simulated = tuple[Float[ndarray, "*curves"], Float[ndarray, "*curves"], Float[ndarray, "*curves"]]


@lru_cache(maxsize=128)
def _null(n_points: int, n_terms: int) -> _Simulated:
    """Statistics after `n_terms` sigmoids, lags of the residuals and leaps, [coefficient, series] each."""
    squares, lags, leapt = _simulate(n_points)
    statistics = np.log(squares[:, 0] / np.maximum(squares[:, n_terms], 1e-300))
    return statistics.reshape(-1, SERIES), lags[:, n_terms].reshape(-1, SERIES), leapt.reshape(-1, SERIES)


@lru_cache(maxsize=64)
def _simulate(n_points: int) -> _Simulated:
    rng = np.random.default_rng(n_points)
    noise = np.concatenate([autoregressive(SERIES, n_points, rho, rng) for rho in COEFFICIENTS])
    return *pursue(noise, greedy(grid_of(np.linspace(0, 3, n_points))), max_terms(n_points)), leaps(noise)


def autoregressive(
    n_series: int, n_points: int, rho: float, rng: np.random.Generator
) -> Float[ndarray, "series point"]:
    """Stationary first-order autoregressive noise of unit variance."""
    shocks = rng.standard_normal((n_series, n_points))
    series = shocks.copy()
    for t in range(1, n_points):
        series[:, t] = rho * series[:, t - 1] + np.sqrt(1 - rho**2) * shocks[:, t]
    return series
