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
MOST_CUTS = 48
REPEATS = 2


def sigmoid(
    x: Float[ndarray, "point"], centre: Float[ndarray, "*atom"], width: Float[ndarray, "*atom"]
) -> Float[ndarray, "point *atom"]:
    """Sigmoids with the given centres and 10-90 % widths."""
    u = x.reshape(-1, *[1] * np.ndim(centre)) - centre
    u *= DECADES_PER_SCALE / np.maximum(width, 1e-9)
    np.maximum(u, -50, out=u)
    np.minimum(u, 50, out=u)
    np.exp(np.negative(u, out=u), out=u)
    u += 1
    return np.divide(1, u, out=u)


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
    below = np.minimum(np.maximum(np.searchsorted(x, places) - 1, 0), len(x) - 2)
    return np.asarray(x[below + 1] - x[below])


def dictionary(x: Float[ndarray, "point"]) -> Float[ndarray, "point atom"]:
    """The atoms of a grid: a step in every interval, and sigmoids up to two and a half times as wide as the grid is long."""
    per_interval = 3 if len(x) <= 50 else 2 if len(x) <= 160 else 1
    fractions = (np.arange(per_interval) + 0.5) / per_interval
    centres = (x[:-1, None] + np.diff(x)[:, None] * fractions).ravel()
    if len(centres) > MOST_CENTRES:
        centres = centres[np.linspace(0, len(centres) - 1, MOST_CENTRES).astype(int)]
    gaps, span = np.diff(x), x[-1] - x[0]
    centre, width = (axis.ravel() for axis in np.meshgrid(centres, span * np.geomspace(0.02, 2.5, 12), indexing="ij"))
    values = sigmoid(x, np.append(x[:-1] + gaps / 2, centre), np.append(0.05 * gaps, width))
    fingerprint = np.random.default_rng(len(x)).standard_normal(len(x)) @ np.round(values, 4)
    _, kept = np.unique(np.round(fingerprint, 9), return_index=True)
    return np.ascontiguousarray(values[:, np.sort(kept[np.ptp(values[:, kept], axis=0) > 0.05])])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Greedy:
    """What the greedy fits of a grid's curves share: atoms less their means, their sums of squares, and for some cuts of
    the grid the atom that is nearest to a step there."""

    centred: Float[ndarray, "point atom"]
    power: Float[ndarray, "atom"]
    cuts: Int[ndarray, "cut"]
    nearest: Int[ndarray, "cut"]


@lru_cache(maxsize=64)
def greedy(grid: tuple[float, ...]) -> Greedy:
    """At most some hundred of a grid's atoms, the steps that come first among them, and the others evenly: a curve and its
    null go through the same fit."""
    atoms = dictionary(np.array(grid))
    steps = len(atoms) - 1
    return shared(np.hstack([atoms[:, :steps], atoms[:, steps :: max(1, atoms.shape[1] // 500)]]))


def shared(atoms: Float[ndarray, "point atom"]) -> Greedy:
    """Some atoms, ready for every curve of their grid."""
    n_points = len(atoms)
    centred = atoms - atoms.mean(0)
    power = (centred**2).sum(0)
    cuts = np.unique(np.linspace(1, n_points - 1, min(n_points - 1, MOST_CUTS)).round().astype(int))
    steps = (np.arange(n_points) >= cuts[:, None]) - (1 - cuts[:, None] / n_points)
    nearest = (steps @ centred / np.sqrt(np.maximum(power, 1e-12))).argmax(1)
    return Greedy(centred=centred, power=power, cuts=cuts, nearest=nearest)


def grid_of(x: Float[ndarray, "point"]) -> tuple[float, ...]:
    """The key of everything that curves of one grid share."""
    return tuple(np.round(x, 9).tolist())


def pursue(
    y: Float[ndarray, "curve point"], atoms: Greedy, n_terms: int
) -> tuple[Float[ndarray, "curve term1"], Float[ndarray, "curve term1"]]:
    """Orthogonal greedy fit of a constant and up to `n_terms` atoms; as the first two also the best staircase, each of
    its steps re-chosen given the other, since one wide atom hides it.

    Returns the sum of squared residuals after 0 … n_terms terms, and the residuals' lag-1 autocorrelation.
    """
    centred, floor = atoms.centred, 1e-6 * atoms.power
    empty = space = _Space(residual=y - y.mean(1, keepdims=True), left=np.tile(atoms.power, (len(y), 1)))
    squares, lag = [(space.residual**2).sum(1)], [lag_one(space.residual)]
    for term in range(n_terms):
        space = _spanned(space, centred, _best(space, centred, floor))
        if term == 1:
            space = _better(space, _staircase(empty, atoms, floor))
        squares.append((space.residual**2).sum(1))
        lag.append(lag_one(space.residual))
    return np.stack(squares, 1), np.stack(lag, 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Space:
    """What the chosen atoms leave: of the curves, of each atom's sum of squares, and the basis that they span."""

    residual: Float[ndarray, "curve point"]
    left: Float[ndarray, "curve atom"]
    bases: tuple[Float[ndarray, "curve point"], ...] = ()


def _staircase(empty: _Space, atoms: Greedy, floor: Float[ndarray, "atom"]) -> _Space:
    """The two steps that explain most, as the atoms nearest to them, then REPEATS times one re-chosen given the other."""
    n_points, cuts = len(atoms.centred), atoms.cuts
    first, second = np.triu_indices(len(cuts), 1)
    sums = np.cumsum(empty.residual, axis=1)[:, cuts - 1]
    low, high = sums[:, first], sums[:, second]
    explained = low**2 / cuts[first] + high**2 / (n_points - cuts[second])
    explained += (high - low) ** 2 / (cuts[second] - cuts[first])
    best = explained.argmax(1)
    chosen = atoms.nearest[second[best]]
    space = _spanned(_spanned(empty, atoms.centred, atoms.nearest[first[best]]), atoms.centred, chosen)
    for _ in range(REPEATS):
        other = _spanned(empty, atoms.centred, chosen)
        chosen = _best(other, atoms.centred, floor)
        space = _spanned(other, atoms.centred, chosen)
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
