"""The 95 % band of a rise's midpoint: over shapes, and as wide as the errors around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import chdtri, stdtrit

from interp.jumps._atoms import whiten
from interp.jumps._curve import Curve
from interp.jumps._fit import Fit
from interp.jumps._shapes import SHAPES, Shape, profile

CENTRES = 21
MOST_LOOKS = 6
LEAST_NEAR = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Own:
    """The rise as it was fitted: its shape, middle, 10-90 % width, and of how many terms."""

    shape: Shape
    middle: float
    width: float
    n_terms: int


def midpoint_band(
    curve: Curve, target: Float[ndarray, "point"], rest: Fit, own: Own, floor: float
) -> tuple[float, float]:
    """Between which log steps half of a rise is done.

    target: the curve without what its other changes explain beyond `rest`, the fit of the others. floor: the least
    believable sum of squares.

    The steps at which one of the shapes (the own one and SHAPES) that the curve does not rule out, of some width and
    height, leaves a sum of squares within Student's quantile of the shape's least: a profile likelihood each.
    """
    found = [_interval(curve, target, rest, shape, own, floor) for shape in (own.shape, *SHAPES)]
    best = min(least for least, *_ in found)
    most = best + float(chdtri(3, 0.05)) * _variance(best, rest, floor)
    return min(low for least, low, _ in found if least <= most), max(high for least, _, high in found if least <= most)


def _freedom(rest: Fit) -> int:
    """Of the residuals that one more rise leaves."""
    return max(len(rest.x) - 4 - 3 * len(rest.centre), 1)


def _variance(squares: float, rest: Fit, floor: float) -> float:
    """Of a whitened error: as the residuals of one more rise show it, and not below what is believed."""
    return max(squares / _freedom(rest), floor / len(rest.x))


def _interval(
    curve: Curve, target: Float[ndarray, "point"], rest: Fit, shape: Shape, own: Own, floor: float
) -> tuple[float, float, float]:
    """The least sum of squares with a rise of this shape, and the ends of its likely middles: on a lattice that closes
    in on them until they fill it."""
    gap = float(np.diff(curve.x)[int(np.clip(np.searchsorted(curve.x, own.middle) - 1, 0, len(curve) - 2))])
    reach = max(gap, own.width)
    widths = np.sort(np.append(reach * np.geomspace(0.2, 4, 9), 1e-3 * gap))
    low, high = own.middle - 3 * reach, own.middle + 3 * reach
    quantile = float(stdtrit(_freedom(rest), 0.975))
    for _ in range(MOST_LOOKS):
        centres = np.linspace(low, high, CENTRES)
        found = profile(target, rest, shape, centres, widths)
        least = float(found.squares.min())
        factor = _local_error(curve, _residual(target, rest, found.best), own.middle, reach)
        within = found.squares <= least + (quantile * factor) ** 2 * _variance(least, rest, floor)
        likely, step = centres[within], centres[1] - centres[0]
        low, high = float(likely[0] - step), float(likely[-1] + step)
        if high - low > CENTRES / 2 * step:
            break
    return least, float(likely[0]) - step / 2, float(likely[-1]) + step / 2


def _residual(target: ndarray, rest: Fit, white: Float[ndarray, "point"]) -> Float[ndarray, "point"]:
    """What the rest and one more whitened rise leave of the whitened target."""
    design = np.column_stack([whiten(np.ones((len(target), 1)), rest.rho), whiten(rest.parts(), rest.rho), white])
    y = whiten(target, rest.rho)
    return y - design @ np.linalg.lstsq(design, y, rcond=1e-9)[0]


def _local_error(curve: Curve, residual: Float[ndarray, "point"], middle: float, reach: float) -> float:
    """Errors around the rise relative to those of the whole curve, by what is known of them or by the residuals, at
    least 1: half-way up a score is at its noisiest."""
    distance = np.abs(curve.x - middle)
    near = distance <= max(reach, float(np.partition(distance, min(LEAST_NEAR, len(curve)) - 1)[LEAST_NEAR - 1]))
    error = curve.sigma if curve.sigma.any() else residual
    typical = float((error**2).mean())
    return max(1.0, float(np.sqrt((error[near] ** 2).mean() / typical))) if typical > 0 else 1.0
