"""The calibrated null: how well sigmoids fit noise that has no jump.

Checkpoints scored on the same examples have serially dependent errors, so the null is not white: first-order
autoregressive series with coefficients from 0 to .97 go through the very fit that the curve goes through, and
the curve is compared with those whose *residuals* have an autocorrelation near its own. The coefficient is not
plugged in: of all coefficients that the residuals do not rule out, the one that explains the curve best counts. A
null is simulated once a number of checkpoints, and kept.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from interp.jumps._atoms import dictionary, pursue

COEFFICIENTS = (0.0, 0.2, 0.4, 0.6, 0.75, 0.85, 0.92, 0.97)
SERIES = 320
NEIGHBOURS = 100
RULED_OUT = 0.02
MOST_DEPENDENCE = 0.9
_SIZES = sorted({*range(5, 13), *np.geomspace(12, 400, 20).round().astype(int).tolist()})


def max_terms(n_points: int) -> int:
    """How many sigmoids a curve of so many checkpoints can bear."""
    return int(np.clip((n_points - 1) // 4, 1, 6))


def p_value(
    statistic: float, lag: float, *, n_points: int, n_terms: int, dependent: bool = True, worst: bool = True
) -> float:
    """The largest P(null statistic >= statistic) over the coefficients that residuals of a lag-1 near `lag` leave open.

    statistic: ln(SSE of a constant / SSE of the fit), after `n_terms` sigmoids. A coefficient is ruled out where `lag`
    lies in either RULED_OUT tail of its own series; where all are, the nearest counts. Beyond the 95 % quantile of the
    NEIGHBOURS series of nearest lag the tail is exponential. With `worst` false the coefficients are averaged over
    instead: for what is asked of a curve that has been found to change.
    """
    nearest = min(_SIZES, key=lambda size: abs(np.log(size / n_points)))
    statistics, lags = _null(nearest, min(n_terms, max_terms(nearest)))
    if not dependent:
        return _tail(statistics[0], statistic)
    if not worst:
        near = np.argsort(np.abs(lags - lag), axis=None, kind="stable")[: 4 * NEIGHBOURS]
        return _tail(statistics.ravel()[near], statistic)
    below = (lags <= lag).mean(1)
    left_open = np.minimum(below, 1 - below) >= RULED_OUT
    if not left_open.any():
        left_open = np.arange(len(lags)) == np.abs(np.median(lags, axis=1) - lag).argmin()
    near = np.argsort(np.abs(lags[left_open] - lag), axis=1, kind="stable")[:, :NEIGHBOURS]
    return max(_tail(values, statistic) for values in np.take_along_axis(statistics[left_open], near, axis=1))


def _tail(values: Float[ndarray, "series"], statistic: float) -> float:
    """Share of the values at or above the statistic; beyond their 95 % quantile an exponential of the mean excess."""
    edge, knee = np.quantile(values, [0.95, 0.8])
    if statistic <= edge:
        return float(max((values >= statistic).mean(), 0.05))
    return float(max(0.05 * np.exp(-(statistic - edge) / max((values[values > knee] - knee).mean(), 1e-9)), 1e-12))


def dependence(lag: float, *, n_points: int, n_terms: int) -> float:
    """The lag-1 coefficient, to one decimal, to expect of errors whose residuals after `n_terms` sigmoids show `lag`.

    The mean coefficient of the null series with residuals like that; a fit eats dependence, so it lies above `lag`.
    """
    nearest = min(_SIZES, key=lambda size: abs(np.log(size / n_points)))
    _, lags = _null(nearest, min(n_terms, max_terms(nearest)))
    near = np.argsort(np.abs(lags - lag), axis=None, kind="stable")[: 4 * NEIGHBOURS]
    return min(round(float(np.repeat(COEFFICIENTS, SERIES)[near].mean()), 1), MOST_DEPENDENCE)


@lru_cache(maxsize=128)
def _null(
    n_points: int, n_terms: int
) -> tuple[Float[ndarray, "coefficient series"], Float[ndarray, "coefficient series"]]:
    squares, lags = _simulate(n_points)
    statistics = np.log(squares[:, 0] / np.maximum(squares[:, n_terms], 1e-300))
    return statistics.reshape(-1, SERIES), lags[:, n_terms].reshape(-1, SERIES)


@lru_cache(maxsize=64)
def _simulate(n_points: int) -> tuple[Float[ndarray, "series term1"], Float[ndarray, "series term1"]]:
    rng = np.random.default_rng(n_points)
    atoms = dictionary(np.linspace(0, 3, n_points))
    thin = atoms.values[:, :: max(1, atoms.values.shape[1] // 700)]
    noise = np.concatenate([autoregressive(SERIES, n_points, rho, rng) for rho in COEFFICIENTS])
    return pursue(noise, thin, max_terms(n_points))


def autoregressive(
    n_series: int, n_points: int, rho: float, rng: np.random.Generator
) -> Float[ndarray, "series point"]:
    """Stationary first-order autoregressive noise of unit variance."""
    shocks = rng.standard_normal((n_series, n_points))
    series = shocks.copy()
    for t in range(1, n_points):
        series[:, t] = rho * series[:, t - 1] + np.sqrt(1 - rho**2) * shocks[:, t]
    return series
