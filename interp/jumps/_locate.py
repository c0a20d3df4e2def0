"""Where a rise is: averaged over the shapes that the curve leaves open, with the 95 % band of its midpoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import chdtri, stdtrit

from interp.jumps._atoms import whiten
from interp.jumps._curve import Curve
from interp.jumps._fit import Fit, term_price
from interp.jumps._shapes import SHAPES, Profile, Shape, placed, profile

CENTRES = 21
MOST_LOOKS = 6
LEAST_NEAR = 5
LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Own:
    """The rise as it was fitted: its shape, middle, 10-90 % width, and of how many terms."""

    shape: Shape
    middle: float
    width: float
    n_terms: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Located:
    """part: the rise on a fine axis; residual: of the checkpoints; low, high: the ends of the midpoint's band."""

    part: Float[ndarray, "fine"]
    residual: Float[ndarray, "point"]
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Candidate:
    """The rise as one shape describes it best, with the sum of squares of its whitened residuals."""

    part: Float[ndarray, "fine"]
    residual: Float[ndarray, "point"]
    squares: float
    low: float
    high: float


def locate(
    curve: Curve,
    fine: Float[ndarray, "fine"],
    target: Float[ndarray, "point"],
    rest: Fit,
    own: Own,
    floor: float,
) -> Located:
    """One rise of `target`, the curve without what its other changes explain beyond `rest`, the fit of the others.

    Each shape (the own one and SHAPES) is fitted by itself. Its likely middles are those at which some width and height
    leave a sum of squares within Student's quantile of the shape's least: a profile likelihood. The band covers the
    likely middles of all shapes that the curve does not rule out; the rise is their mean by likelihood, where each
    further term of the own one costs as much as it did in the fit.

    floor: the least believable sum of squares.
    """
    found = [_candidate(curve, fine, target, rest, shape, own, floor) for shape in (own.shape, *SHAPES)]
    squares = np.array([each.squares for each in found])
    variance = _variance(squares.min(), rest, floor)
    excess = (squares - squares.min()) / variance
    open_ = [each for each, far in zip(found, excess, strict=True) if far <= chdtri(2, 1 - LEVEL)]
    excess[0] += (own.n_terms - 1) * term_price(len(curve))
    weight = np.exp(-(excess - excess.min()) / 2)
    weight /= weight.sum()
    return Located(
        part=np.asarray(weight @ np.stack([each.part for each in found])),
        residual=np.asarray(weight @ np.stack([each.residual for each in found])),
        low=min(each.low for each in open_),
        high=max(each.high for each in open_),
    )


def _candidate(
    curve: Curve,
    fine: Float[ndarray, "fine"],
    target: Float[ndarray, "point"],
    rest: Fit,
    shape: Shape,
    own: Own,
    floor: float,
) -> _Candidate:
    """The best rise of one shape and its likely middles: on a lattice that closes in on them until they fill it."""
    gap = float(np.diff(curve.x)[int(np.clip(np.searchsorted(curve.x, own.middle) - 1, 0, len(curve) - 2))])
    reach = max(gap, own.width)
    widths = np.sort(np.append(reach * np.geomspace(0.2, 4, 9), 1e-3 * gap))
    low, high = own.middle - 3 * reach, own.middle + 3 * reach
    quantile = float(stdtrit(_freedom(rest), (1 + LEVEL) / 2))
    for _ in range(MOST_LOOKS):
        centres = np.linspace(low, high, CENTRES)
        found = profile(target, rest, shape, centres, widths)
        squares = float(found.squares.min())
        height, residual = _fitted(target, rest, shape, found)
        factor = _local_error(curve, residual, own.middle, reach)
        within = found.squares <= squares + (quantile * factor) ** 2 * _variance(squares, rest, floor)
        likely, step = centres[within], centres[1] - centres[0]
        low, high = float(likely[0] - step), float(likely[-1] + step)
        if high - low > CENTRES / 2 * step:
            break
    return _Candidate(
        part=height * placed(shape, fine, found.centre, found.width),
        residual=residual,
        squares=squares,
        low=float(likely[0]) - step / 2,
        high=float(likely[-1]) + step / 2,
    )


def _freedom(rest: Fit) -> int:
    """Of the residuals that one more rise leaves."""
    return max(len(rest.x) - 4 - 3 * len(rest.centre), 1)


def _variance(squares: float, rest: Fit, floor: float) -> float:
    """Of a whitened error: as the residuals of one more rise show it, and not below what is believed."""
    return max(squares / _freedom(rest), floor / len(rest.x))


def _fitted(target: ndarray, rest: Fit, shape: Shape, found: Profile) -> tuple[float, Float[ndarray, "point"]]:
    """Height of the best rise beside the rest, and what both leave of the target."""
    design = np.column_stack([np.ones(len(target)), rest.parts(), placed(shape, rest.x, found.centre, found.width)])
    weight = np.linalg.lstsq(whiten(design, rest.rho), whiten(target, rest.rho), rcond=1e-9)[0]
    return float(weight[-1]), target - design @ weight


def _local_error(curve: Curve, residual: Float[ndarray, "point"], middle: float, reach: float) -> float:
    """Errors around the rise relative to those of the whole curve, by what is known of them or by the residuals, at
    least 1: half-way up a score is at its noisiest."""
    distance = np.abs(curve.x - middle)
    near = distance <= max(reach, float(np.partition(distance, min(LEAST_NEAR, len(curve)) - 1)[LEAST_NEAR - 1]))
    error = curve.sigma if curve.sigma.any() else residual
    typical = float((error**2).mean())
    return max(1.0, float(np.sqrt((error[near] ** 2).mean() / typical))) if typical > 0 else 1.0
