"""Where a rise is: averaged over the shapes that the curve leaves open, with the 95 % band of its midpoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import chdtri, stdtrit

from interp.jumps._atoms import whiten
from interp.jumps._curve import Curve
from interp.jumps._fit import Fit, evidence, term_price
from interp.jumps._shapes import SHAPES, Profile, Shape, placed, profile

CENTRES = 21
MOST_LOOKS = 6
LEAST_NEAR = 5
BEYOND = (1e3, 0.3, 0.1, 0.03)
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
    """The rise as one shape describes it best, the sum of squares of its whitened residuals, and their variance: not
    below what is believed."""

    part: Float[ndarray, "fine"]
    residual: Float[ndarray, "point"]
    squares: float
    variance: float
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

    Each of SHAPES is fitted by itself; where all of them leave so much more than the rise as it was fitted that its
    further terms are worth their price, it stands alone. The likely middles of a shape are those at which some width and
    height leave a sum of squares within Student's quantile of the least: a profile likelihood. The band covers those of
    all shapes that the curve does not rule out; the rise is their mean by likelihood.

    floor: the least believable sum of squares.
    """
    found = [_candidate(curve, fine, target, rest, shape, 1, own, floor) for shape in SHAPES]
    if own.n_terms > 1:
        fitted = _candidate(curve, fine, target, rest, own.shape, own.n_terms, own, floor)
        least = min(each.squares for each in found)
        gained = evidence(len(curve), least, fitted.squares, floor)
        found = [fitted] if gained > (own.n_terms - 1) * term_price(len(curve)) else found
    best = min(found, key=lambda each: each.squares)
    excess = np.array([each.squares - best.squares for each in found]) / best.variance
    open_ = [each for each, far in zip(found, excess, strict=True) if far <= chdtri(2, 1 - LEVEL)]
    weight = np.exp(-excess / 2)
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
    n_terms: int,
    own: Own,
    floor: float,
) -> _Candidate:
    """The best rise of one shape, worth `n_terms` sigmoids, and its likely middles: on a lattice that closes in on them
    until they fill it."""
    freedom = max(len(curve) - 1 - 3 * (len(rest.centre) + n_terms), 1)
    gap = float(np.diff(curve.x)[int(np.clip(np.searchsorted(curve.x, own.middle) - 1, 0, len(curve) - 2))])
    reach = max(gap, own.width)
    widths = np.sort(np.append(reach * np.geomspace(0.2, 4, 9), 1e-3 * gap))
    low, high = own.middle - 3 * reach, own.middle + 3 * reach
    quantile = float(stdtrit(freedom, (1 + LEVEL) / 2))
    for _ in range(MOST_LOOKS):
        centres = np.linspace(low, high, CENTRES)
        found = profile(target, rest, shape, centres, widths)
        squares = float(found.squares.min())
        height, residual = _fitted(target, rest, shape, found)
        factor = _local_error(curve, residual, own.middle, reach)
        variance = max(squares / freedom, floor / len(curve))
        within = found.squares <= squares + (quantile * factor) ** 2 * variance
        likely, step = centres[within], centres[1] - centres[0]
        low, high = float(likely[0] - step), float(likely[-1] + step)
        if high - low > CENTRES / 2 * step:
            break
    return _Candidate(
        part=height * placed(shape, fine, found.centre, found.width),
        residual=residual,
        squares=squares,
        variance=variance,
        low=float(likely[0]) - step / 2,
        high=float(likely[-1]) + step / 2,
    )


def _fitted(target: ndarray, rest: Fit, shape: Shape, found: Profile) -> tuple[float, Float[ndarray, "point"]]:
    """Height of the best rise beside the rest, and what both leave of the target."""
    design = np.column_stack([np.ones(len(target)), rest.parts(), placed(shape, rest.x, found.centre, found.width)])
    weight = np.linalg.lstsq(whiten(design, rest.rho), whiten(target, rest.rho), rcond=1e-9)[0]
    return float(weight[-1]), target - design @ weight


def _local_error(curve: Curve, residual: Float[ndarray, "point"], middle: float, reach: float) -> float:
    """Errors around the rise relative to those of the whole curve, as they are known, or as large as the residuals make
    most likely; at least 1: half-way up a score is at its noisiest."""
    distance = np.abs(curve.x - middle)
    near = distance <= max(reach, float(np.partition(distance, min(LEAST_NEAR, len(curve)) - 1)[LEAST_NEAR - 1]))
    variance = curve.sigma**2 if curve.sigma.any() else _likeliest(curve.y - residual, residual)
    return max(1.0, float(np.sqrt(variance[near].mean() / variance.mean())))


def _likeliest(fitted: Float[ndarray, "point"], residual: Float[ndarray, "point"]) -> Float[ndarray, "point"]:
    """The errors' variance, but for a factor: constant, or like a binomial's between levels a little beyond the fit's."""
    share = (fitted - fitted.min()) / max(float(np.ptp(fitted)), 1e-12)
    shapes = [(share + beyond) * (1 + beyond - share) for beyond in BEYOND]
    unlikely = [np.log(v).mean() + np.log(max(float((residual**2 / v).mean()), 1e-30)) for v in shapes]
    return shapes[int(np.argmin(unlikely))]
