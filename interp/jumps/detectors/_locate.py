"""Where a rise is: averaged over the shapes that the curve leaves open, with the 95 % band of its midpoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import chdtri, stdtrit

from interp.jumps.curve import Curve
from interp.jumps.detectors._atoms import gap_at, whiten
from interp.jumps.detectors._fit import Fit, evidence, term_price
from interp.jumps.detectors._shapes import SHAPES, Profile, Shape, placed, profile

CENTRES = 21
MOST_LOOKS = 6
LEAST_NEAR = 5
BEYOND = (1e3, 0.3, 0.1, 0.03)
LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """A rise as it was fitted: its shape, middle, 10-90 % width, and of how many terms. target: the curve without what
    its other changes explain beyond `rest`, the fit of the others; fine: a dense axis; floor: the least believable sum
    of squares."""

    curve: Curve
    fine: Float[ndarray, "fine"]
    target: Float[ndarray, "point"]
    rest: Fit
    shape: Shape
    middle: float
    width: float
    n_terms: int
    floor: float


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


def locate(rise: Fitted) -> Located:
    """Where a rise is.

    Each of SHAPES is fitted by itself; where all of them leave so much more than the rise as it was fitted that its
    further terms are worth their price, it stands alone. The likely middles of a shape are those at which some width and
    height leave a sum of squares within Student's quantile of the least: a profile likelihood. The band covers those of
    all shapes that the curve does not rule out; the rise is their mean by likelihood.
    """
    found = [_candidate(rise, shape, 1) for shape in SHAPES]
    if rise.n_terms > 1:
        fitted, n_points = _candidate(rise, rise.shape, rise.n_terms), len(rise.curve)
        gained = evidence(n_points, min(each.squares for each in found), fitted.squares, rise.floor)
        found = [fitted] if gained > (rise.n_terms - 1) * term_price(n_points) else found
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


def _candidate(rise: Fitted, shape: Shape, n_terms: int) -> _Candidate:
    """The best rise of one shape, worth `n_terms` sigmoids, and its likely middles: on a lattice that closes in on them
    until they fill it."""
    curve, target, rest = rise.curve, rise.target, rise.rest
    freedom = max(len(curve) - 1 - 3 * (len(rest.centre) + n_terms), 1)
    gap = float(gap_at(curve.x, rise.middle))
    reach = max(gap, rise.width)
    widths = np.sort(np.append(reach * np.geomspace(0.2, 4, 9), 1e-3 * gap))
    low, high = rise.middle - 3 * reach, rise.middle + 3 * reach
    quantile = float(stdtrit(freedom, (1 + LEVEL) / 2))
    for _ in range(MOST_LOOKS):
        centres = np.linspace(low, high, CENTRES)
        found = profile(target, rest, shape, centres, widths)
        squares = float(found.squares.min())
        height, residual = _solved(target, rest, shape, found)
        factor = _local_error(curve, residual, rise.middle, reach)
        variance = max(squares / freedom, rise.floor / len(curve))
        within = found.squares <= squares + (quantile * factor) ** 2 * variance
        likely, step = centres[within], centres[1] - centres[0]
        low, high = float(likely[0] - step), float(likely[-1] + step)
        if high - low > CENTRES / 2 * step:
            break
    return _Candidate(
        part=height * placed(shape, rise.fine, found.centre, found.width),
        residual=residual,
        squares=squares,
        variance=variance,
        low=float(likely[0]) - step / 2,
        high=float(likely[-1]) + step / 2,
    )


def _solved(target: ndarray, rest: Fit, shape: Shape, found: Profile) -> tuple[float, Float[ndarray, "point"]]:
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
