"""Which form describes a whole curve best: flat, sigmoid, power law, broken power law, piecewise linear.

Each form is fitted by least squares, from the best points of a lattice of its non-linear parameters (linear ones
solved exactly), after whitening for serially dependent errors; residuals are not believed below the known errors.
BIC decides:
n ln(SSE / n) + k ln n with k the number of free parameters.

    flat               y = a                                                                              k = 1
    sigmoid            y = a + b / (1 + exp(-(log10 t - c) / s))                                          k = 4
    power law          y = a + b t^c                                                                      k = 3
    broken power law   y = a + b t^(-c0) (1 + (t/d)^(1/f))^(-c1 f), one break (Caballero et al. 2023)     k = 6
    piecewise          continuous, linear in log10 t, two knots                                           k = 6
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations, product

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import least_squares

from interp.jumps.curve import RESOLUTION, Curve
from interp.jumps.detectors._atoms import sigmoid, whiten

PARAMETERS = {"flat": 1, "sigmoid": 4, "power law": 3, "broken power law": 6, "piecewise": 6}
MOST_KNOTS = 24
REFINEMENTS = 8
EVALUATIONS = 25
LEAST_ATOM = 1e-4  # an atom shorter than this is constant on the grid
CLIMBS, SHRINK = 12, 0.7
AROUND = np.array(list(product((-1, 0, 1), repeat=2)))


def compare_models(curve: Curve, rho: float = 0.0) -> dict[str, float]:
    """BIC of each form; forms with as many parameters as there are points are left out.

    rho: lag-1 autocorrelation of the errors.
    """
    n_points = len(curve)
    grid = tuple(np.round(curve.x, 9))
    y = whiten(curve.y, rho)
    floor = n_points * max((curve.sigma**2).mean(), (RESOLUTION * curve.span) ** 2, 1e-24) * (1 - rho**2)
    one = _constant(n_points, rho)
    residual = y - one * (one @ y)
    total = float(residual @ residual)
    squares = {name: total - _best_gain(residual, name, grid, rho) for name in _FORMS}
    squares |= {"flat": total, "piecewise": _piecewise(curve, rho)}
    return {
        name: float(n_points * np.log(max(sse, floor) / n_points) + PARAMETERS[name] * np.log(n_points))
        for name, sse in squares.items()
        if PARAMETERS[name] < n_points - 1
    }


def best_model(bic: dict[str, float]) -> tuple[str | None, float]:
    """The form with the least BIC (the simpler of equals) and its lead over the next; (None, NaN) where there
    is none."""
    order = sorted(bic, key=lambda name: (round(bic[name], 6), PARAMETERS[name]))
    if not order:
        return None, float("nan")
    return order[0], bic[order[1]] - bic[order[0]] if len(order) > 1 else float("nan")


def _best_gain(residual: Float[ndarray, "point"], name: str, grid: tuple[float, ...], rho: float) -> float:
    """What the best member of a form explains: the best of its lattice for each sign of the first parameter (the broken
    power law has several optima), moved uphill: on ever finer lattices, or, where these would be large, by gradients."""
    form, x = _FORMS[name], np.array(grid)
    lattice, atoms = _lattice(name, grid, rho)
    gain = (residual @ atoms) ** 2
    signs = np.sign(lattice[0])
    starts = [lattice[:, int(np.where(signs == sign, gain, -1).argmax())] for sign in np.unique(signs)]

    def gained(at: Float[ndarray, "parameter some"]) -> Float[ndarray, "some"]:
        return np.asarray((residual @ _normalised(form(x, at), rho)) ** 2)

    best = float(gain.max())
    if len(lattice) > 2:
        return max(best, *(_climbed(residual, start, x, rho) for start in starts))
    around = np.array(list(product((-1, 0, 1), repeat=len(lattice)))).T
    reach = np.array([[np.diff(np.unique(axis)).min()] for axis in lattice])
    for at in starts:
        for shrink in SHRINK ** np.arange(CLIMBS):
            tried = at[:, None] + around * reach * shrink
            found = gained(tried)
            at, best = tried[:, int(found.argmax())], max(best, float(found.max()))
    return best


def _climbed(
    residual: Float[ndarray, "point"], start: Float[ndarray, "4"], x: Float[ndarray, "point"], rho: float
) -> float:
    """The most that a broken power law explains, uphill from a start, its height solved for at each step."""

    def left(at: Float[ndarray, "4"]) -> Float[ndarray, "point"]:
        atom = _normalised(_broken(x, at[:, None]), rho)[:, 0]
        return residual - (residual @ atom) * atom

    def slopes(at: Float[ndarray, "4"]) -> Float[ndarray, "point 4"]:
        atom, turned = _turned(*_broken_slopes(x, at), rho)
        return -(residual @ atom) * turned - atom[:, None] * (residual @ turned)

    end = least_squares(left, start, slopes, method="lm", max_nfev=EVALUATIONS).x
    return float(residual @ residual - (left(end) ** 2).sum())


def _turned(
    values: Float[ndarray, "point"], slopes: Float[ndarray, "point parameter"], rho: float
) -> tuple[Float[ndarray, "point"], Float[ndarray, "point parameter"]]:
    """An atom as `_normalised`, and how it turns with its parameters."""
    one = _constant(len(values), rho)
    both = whiten(np.column_stack([values, slopes]), rho)
    both = both - one[:, None] * (one @ both)
    length = np.linalg.norm(both[:, 0])
    both = both / length if length > LEAST_ATOM else 0 * both
    atom, turned = both[:, 0], both[:, 1:]
    return atom, turned - atom[:, None] * (atom @ turned)


@lru_cache(maxsize=96)
def _constant(n_points: int, rho: float) -> Float[ndarray, "point"]:
    """The whitened constant, of unit length."""
    one = whiten(np.ones(n_points), rho)
    return one / np.linalg.norm(one)


def _normalised(values: Float[ndarray, "point atom"], rho: float) -> Float[ndarray, "point atom"]:
    """Whitened, orthogonal to the whitened constant, of unit length; zero where an atom is constant on the grid."""
    values = whiten(values / np.maximum(np.abs(values).max(0), 1e-300), rho)
    one = _constant(len(values), rho)
    values = values - one[:, None] * (one @ values)
    length = np.linalg.norm(values, axis=0)
    return np.where(length > LEAST_ATOM, values / np.maximum(length, LEAST_ATOM), 0.0)


@lru_cache(maxsize=96)
def _lattice(
    name: str, grid: tuple[float, ...], rho: float
) -> tuple[Float[ndarray, "parameter atom"], Float[ndarray, "point atom"]]:
    x = np.array(grid)
    inner = np.linspace(x[0], x[-1], min(2 + len(x), 20))[1:-1]
    axes = {
        "sigmoid": [np.linspace(x[0], x[-1], 40), np.linspace(-2, 1, 10)],
        "power law": [np.concatenate([-np.geomspace(0.02, 8, 60), np.geomspace(0.02, 8, 60)])],
        "broken power law": [
            np.array([-1.5, -0.5, -0.2, 0, 0.2, 0.5, 1.5]),
            inner,
            np.log10([0.05, 0.2, 0.8]),
            np.array([-3, -1, -0.4, 0.4, 1, 3]),
        ],
    }[name]
    lattice = np.stack([axis.ravel() for axis in np.meshgrid(*axes)])
    return lattice, _normalised(_FORMS[name](x, lattice), rho)


def _sigmoid(x: Float[ndarray, "point"], at: Float[ndarray, "2 atom"]) -> Float[ndarray, "point atom"]:
    """at: centre, log10 of the 10-90 % width."""
    return sigmoid(x, at[0], 10 ** np.clip(at[1], -9, 9))


def _power(x: Float[ndarray, "point"], at: Float[ndarray, "1 atom"]) -> Float[ndarray, "point atom"]:
    """at: exponent."""
    return np.exp(np.clip((x - x.mean())[:, None] * at[0] * np.log(10), -300, 300))


def _broken(x: Float[ndarray, "point"], at: Float[ndarray, "4 atom"]) -> Float[ndarray, "point atom"]:
    """at: c0, log10 d, log10 f, c1; each atom scaled by its largest value."""
    c0, d, log_f, c1 = at
    f = 10 ** np.clip(log_f, -3, 3)
    bend = np.logaddexp(0, (x[:, None] - d) * np.log(10) / f)
    logs = -c0 * x[:, None] * np.log(10) - c1 * f * bend
    return np.exp(logs - logs.max(0))


def _broken_slopes(
    x: Float[ndarray, "point"], at: Float[ndarray, "4"]
) -> tuple[Float[ndarray, "point"], Float[ndarray, "point 4"]]:
    """A broken power law and its derivatives by each parameter, but for the scale."""
    c0, d, log_f, c1 = at
    f, decade = 10 ** np.clip(log_f, -3, 3), np.log(10)
    place = (x - d) * decade / f
    bend = np.logaddexp(0, place)
    beyond = np.exp(place - bend)
    logs = -c0 * x * decade - c1 * f * bend
    values = np.exp(logs - logs.max())
    by_f = c1 * decade * f * (place * beyond - bend) if abs(log_f) < 3 else 0 * x
    slopes = np.column_stack([-decade * x, c1 * decade * beyond, by_f, -f * bend])
    return values, values[:, None] * slopes


_FORMS: dict[str, Callable[..., Float[ndarray, "point atom"]]] = {
    "sigmoid": _sigmoid,
    "power law": _power,
    "broken power law": _broken,
}


def _piecewise(curve: Curve, rho: float) -> float:
    """Least sum of squares of a continuous line with two knots: the best pair of a lattice, refined."""
    y = whiten(curve.y, rho)
    pairs, basis = _hinges(tuple(np.round(curve.x, 9)), rho)
    gain = ((y @ basis) ** 2).sum(1)
    best, at = float(gain.max()), pairs[gain.argmax()]
    reach = float(np.ptp(curve.x)) / MOST_KNOTS
    for shrink in 0.6 ** np.arange(REFINEMENTS):
        finer = np.sort(at + AROUND * reach * shrink, axis=1)
        gain = ((y @ _hinge_basis(curve.x, finer, rho)) ** 2).sum(1)
        if gain.max() > best:
            best, at = float(gain.max()), finer[gain.argmax()]
    return float(y @ y) - best


@lru_cache(maxsize=32)
def _hinges(grid: tuple[float, ...], rho: float) -> tuple[Float[ndarray, "pair 2"], Float[ndarray, "pair point 4"]]:
    x = np.array(grid)
    knots = np.linspace(x[0], x[-1], min(len(x), MOST_KNOTS) + 1)[1:-1]
    pairs = np.array(list(combinations(knots, 2)))
    return pairs, _hinge_basis(x, pairs, rho)


def _hinge_basis(
    x: Float[ndarray, "point"], pairs: Float[ndarray, "pair 2"], rho: float
) -> Float[ndarray, "pair point 4"]:
    """Orthonormal bases of the lines with knots at each pair, without the directions that equal knots leave empty."""
    hinges = np.maximum(x[None, :, None] - pairs[:, None, :], 0)
    line = np.broadcast_to(np.column_stack([np.ones(len(x)), x]), (len(pairs), len(x), 2))
    design = np.concatenate([line, hinges], axis=2).transpose(1, 0, 2)
    basis, upper = np.linalg.qr(whiten(design, rho).transpose(1, 0, 2))
    return np.where(np.abs(np.diagonal(upper, axis1=1, axis2=2))[:, None, :] > 1e-6, basis, 0.0)
