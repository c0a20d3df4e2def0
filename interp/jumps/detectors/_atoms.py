"""A dictionary of sigmoids in log step, and greedy least squares over it, for many curves of one grid at once.

An atom is 1 / (1 + exp(-(x - centre) / s)) with a 10-90 % width of 2 ln 9 · s decades. Shapes: `point` counts
checkpoints, `atom` the dictionary, `curve` the curves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

DECADES_PER_SCALE = 2 * np.log(9)
MOST_CENTRES = 200
MOST_STEPS = 1000
MOST_CUTS = 48
REPEATS = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Atoms:
    """centre and width (10-90 %, decades) of each atom, its values at the grid's points whitened for errors with lag-1
    autocorrelation `rho`, and their sums of squares."""

    x: Float[ndarray, "point"]
    centre: Float[ndarray, "atom"]
    width: Float[ndarray, "atom"]
    values: Float[ndarray, "point atom"]
    power: Float[ndarray, "atom"]
    rho: float = 0.0


def sigmoid(
    x: Float[ndarray, "point"], centre: Float[ndarray, "*atom"], width: Float[ndarray, "*atom"]
) -> Float[ndarray, "point *atom"]:
    """Sigmoids with the given centres and 10-90 % widths."""
    u = (x.reshape(-1, *[1] * np.ndim(centre)) - centre) * (DECADES_PER_SCALE / np.maximum(width, 1e-9))
    return 1 / (1 + np.exp(-np.clip(u, -50, 50)))


def make_atoms(
    x: Float[ndarray, "point"], centre: Float[ndarray, "atom"], width: Float[ndarray, "atom"], rho: float = 0.0
) -> Atoms:
    """The atoms with given centres and widths."""
    values = whiten(sigmoid(x, centre, width), rho)
    return Atoms(x=x, centre=centre, width=width, values=values, power=(values**2).sum(0), rho=rho)


def whiten(values: Float[ndarray, "point *rest"], rho: float) -> Float[ndarray, "point *rest"]:
    """v_t - rho v_(t-1), the first row scaled by sqrt(1 - rho^2): white where v is first-order autoregressive."""
    if rho == 0:
        return values
    white = values.copy()
    white[1:] -= rho * values[:-1]
    white[0] *= np.sqrt(1 - rho**2)
    return white


def unwhiten(white: Float[ndarray, "point *rest"], rho: float) -> Float[ndarray, "point *rest"]:
    """The transpose of `whiten`: products of whitened unit vectors, one a point, with whitened columns."""
    product = white.copy()
    product[0] *= np.sqrt(1 - rho**2)
    product[:-1] -= rho * white[1:]
    return product


def gap_at(x: Float[ndarray, "point"], places: float | Float[ndarray, "*place"]) -> Float[ndarray, "*place"]:
    """The width of the interval of the grid that holds each place; the first or last one beyond the grid."""
    return np.asarray(np.diff(x)[np.clip(np.searchsorted(x, places) - 1, 0, len(x) - 2)])


def stride(n_points: int) -> int:
    """How many intervals of the grid apart the dictionary's steps are."""
    return -(-(n_points - 1) // MOST_STEPS)


def dictionary(x: Float[ndarray, "point"], rho: float = 0.0) -> Atoms:
    """The atoms of a grid: a step in every interval (of long grids in every `stride`-th), and sigmoids up to twice as
    wide as the grid is long."""
    return _dictionary(tuple(np.round(x, 9)), rho)


@lru_cache(maxsize=64)
def _dictionary(grid: tuple[float, ...], rho: float) -> Atoms:
    x = np.array(grid)
    per_interval = 3 if len(x) <= 50 else 2 if len(x) <= 160 else 1
    fractions = (np.arange(per_interval) + 0.5) / per_interval
    centres = (x[:-1, None] + np.diff(x)[:, None] * fractions).ravel()
    if len(centres) > MOST_CENTRES:
        centres = centres[np.linspace(0, len(centres) - 1, MOST_CENTRES).astype(int)]
    gaps, span = np.diff(x), x[-1] - x[0]
    centre, width = (axis.ravel() for axis in np.meshgrid(centres, span * np.geomspace(0.02, 2.5, 12), indexing="ij"))
    every = slice(None, None, stride(len(x)))
    centre = np.append((x[:-1] + gaps / 2)[every], centre)
    width = np.append((0.05 * gaps)[every], width)
    values = sigmoid(x, centre, width)
    fingerprint = np.random.default_rng(len(x)).standard_normal(len(x)) @ np.round(values, 4)
    _, kept = np.unique(np.round(fingerprint, 9), return_index=True)
    kept = np.sort(kept[np.ptp(values[:, kept], axis=0) > 0.05])
    return make_atoms(x, centre[kept], width[kept], rho)


def pursue(
    y: Float[ndarray, "curve point"], atoms: Float[ndarray, "point atom"], n_terms: int
) -> tuple[Float[ndarray, "curve term1"], Float[ndarray, "curve term1"]]:
    """Orthogonal greedy fit of a constant and up to `n_terms` atoms; as the first two also the best staircase, each of
    its steps re-chosen given the other, since one wide atom hides it.

    Returns the sum of squared residuals after 0 … n_terms terms, and the residuals' lag-1 autocorrelation.
    """
    centred = atoms - atoms.mean(0)
    space = _Space(residual=y - y.mean(1, keepdims=True), left=np.tile((centred**2).sum(0), (len(y), 1)))
    empty, floor = space, 1e-6 * space.left[0]
    squares, lag = [(space.residual**2).sum(1)], [lag_one(space.residual)]
    for term in range(n_terms):
        space = _spanned(space, centred, _best(space, centred, floor))
        if term == 1:
            space = _better(space, _staircase(empty, centred, floor))
        squares.append((space.residual**2).sum(1))
        lag.append(lag_one(space.residual))
    return np.stack(squares, 1), np.stack(lag, 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Space:
    """What the chosen atoms leave: of the curves, of each atom's sum of squares, and the basis that they span."""

    residual: Float[ndarray, "curve point"]
    left: Float[ndarray, "curve atom"]
    bases: tuple[Float[ndarray, "curve point"], ...] = ()


def _staircase(empty: _Space, centred: Float[ndarray, "point atom"], floor: Float[ndarray, "atom"]) -> _Space:
    """The two steps that explain most, as the atoms nearest to them, then REPEATS times one re-chosen given the other."""
    n_points = len(centred)
    cuts = np.unique(np.linspace(1, n_points - 1, min(n_points - 1, MOST_CUTS)).round().astype(int))
    first, second = np.triu_indices(len(cuts), 1)
    sums = np.cumsum(empty.residual, axis=1)[:, cuts - 1]
    low, high = sums[:, first], sums[:, second]
    explained = low**2 / cuts[first] + high**2 / (n_points - cuts[second])
    explained += (high - low) ** 2 / (cuts[second] - cuts[first])
    best = explained.argmax(1)
    steps = (np.arange(n_points) >= cuts[:, None]) - (1 - cuts[:, None] / n_points)
    nearest = (steps @ centred / np.sqrt(np.maximum(empty.left[0], 1e-12))).argmax(1)
    chosen = nearest[second[best]]
    space = _spanned(_spanned(empty, centred, nearest[first[best]]), centred, chosen)
    for _ in range(REPEATS):
        other = _spanned(empty, centred, chosen)
        chosen = _best(other, centred, floor)
        space = _spanned(other, centred, chosen)
    return space


def _better(one: _Space, two: _Space) -> _Space:
    """Of two fits with as many atoms the closer one, curve by curve."""
    worse = ((one.residual**2).sum(1) > (two.residual**2).sum(1))[:, None]
    return _Space(
        residual=np.where(worse, two.residual, one.residual),
        left=np.where(worse, two.left, one.left),
        bases=tuple(np.where(worse, b, a) for a, b in zip(one.bases, two.bases, strict=True)),
    )


def _best(space: _Space, centred: Float[ndarray, "point atom"], floor: Float[ndarray, "atom"]) -> Int[ndarray, "curve"]:
    gain = (space.residual @ centred) ** 2 / np.maximum(space.left, 1e-12)
    return np.asarray(np.where(space.left > floor, gain, 0).argmax(1))


def _spanned(space: _Space, centred: Float[ndarray, "point atom"], atom: Int[ndarray, "curve"]) -> _Space:
    """With one more atom a curve."""
    basis = centred[:, atom].T.copy()
    for other in space.bases:
        basis -= (basis * other).sum(1, keepdims=True) * other
    basis /= np.maximum(np.linalg.norm(basis, axis=1, keepdims=True), 1e-12)
    return _Space(
        residual=space.residual - (space.residual * basis).sum(1, keepdims=True) * basis,
        left=space.left - (basis @ centred) ** 2,
        bases=(*space.bases, basis),
    )


def lag_one(residual: Float[ndarray, "curve point"]) -> Float[ndarray, "curve"]:
    """Lag-1 autocorrelation of residuals, 0 where they vanish."""
    power = (residual**2).sum(1)
    return np.where(power > 1e-20, (residual[:, 1:] * residual[:, :-1]).sum(1) / np.maximum(power, 1e-20), 0.0)
