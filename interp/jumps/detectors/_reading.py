"""One change by itself: which single rises describe it as well as can be, where they are and how wide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.special import chdtri, stdtrit

from interp.jumps.detectors._atoms import gap_at
from interp.jumps.detectors._design import SHAPES, Readings, Shape, crossings, make_readings, placed, readings
from interp.jumps.detectors._fit import Data
from interp.jumps.instrument import INSTRUMENT
from interp.jumps.verdict import Limits

LOOKS = 2
CENTRES, WIDTHS = 13, 7
LEAST_NEAR = 5
BEYOND = (1e3, 0.3, 0.1, 0.03)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """A monotone stretch of the fitted curve, from checkpoint `start` to `stop`, and the curve with all other changes
    taken out: constant before and after, but for the errors. n_terms: of the fit, within the stretch."""

    data: Data
    start: int
    stop: int
    n_terms: int
    fitted: Float[ndarray, "point"]
    squares: float
    sigma: Float[ndarray, "point"]

    @property
    def magnitude(self) -> float:
        return float(self.fitted[self.stop] - self.fitted[self.start])

    @property
    def clipped(self) -> Float[ndarray, "point"]:
        """The fitted curve within the stretch, constant outside of it."""
        return self.fitted[np.clip(np.arange(len(self.data)), self.start, self.stop)]

    @property
    def target(self) -> Float[ndarray, "point"]:
        return self.data.y - self.fitted + self.clipped


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """What single rises say of a change. squares: of the best one. width_low, width_high: of those that fit, infinite
    for a line through the whole range; cut: "", "first" or "last", the end that cuts off the only narrow ones.
    share: the change from 0 to 1 at the checkpoints, averaged over the shapes that are open by their likelihood; middle,
    width: where half of it is done and its 10-90 % width; low, high: the middle's 95 % band."""

    squares: float
    width_low: float
    width_high: float
    cut: str
    share: Float[ndarray, "point"]
    middle: float
    width: float
    low: float
    high: float


def coarse(change: Change) -> Float[ndarray, "reading"]:
    """The sums of squares that each of the grid's single rises leaves."""
    return readings(change.data.grid).squares(change.target, change.data.weight, change.data.rho)


def read(change: Change, limits: Limits, first: Float[ndarray, "reading"], *, own: Shape | None = None) -> Reading:
    """The single rises that fit a change: first on the grid's lattice, whose sums of squares are `first`, then on finer
    ones around the best, until those that fit fill them.

    A reading fits where its sum of squares is within Student's quantile of the least (a profile likelihood). own: a
    shape of the change's own, where none of SHAPES will do.
    """
    data, shapes = change.data, SHAPES if own is None else (own,)
    table = readings(data.grid)
    if own is not None:
        table = make_readings(data.x, 0 * table.shape, table.centre, table.width, shapes)
        first = table.squares(change.target, data.weight, data.rho)
    freedom = max(len(data) - 1 - 3 * max(change.n_terms, 1), 1)
    quantile = float(stdtrit(freedom, (1 + INSTRUMENT.fit_level) / 2)) ** 2
    least = min(float(first.min()), change.squares)
    looks = [(table, first)]
    for _ in range(LOOKS):
        allowed = _allowed(change, least, freedom, quantile, looks)
        finer, done = _closer(table, first, min(float(s.min()) for _, s in looks) + 3 * allowed, data.x, shapes, limits)
        squares = finer.squares(change.target, data.weight, data.rho)
        looks.append((finer, squares))
        if done:
            break
        table, first = finer, squares
    return _summary(change, limits, looks, shapes, freedom, quantile)


def _closer(
    table: Readings,
    squares: Float[ndarray, "reading"],
    most: float,
    x: Float[ndarray, "point"],
    shapes: tuple[Shape, ...],
    limits: Limits,
) -> tuple[Readings, bool]:
    """A lattice, shape by shape, over the readings that leave at most `most`, or around the best one; and whether it
    is as fine as those readings are many."""
    shape, centre, width, done = [], [], [], True
    for kind in range(len(shapes)):
        own = np.flatnonzero(table.shape == kind)
        if not len(own):
            continue
        best = own[squares[own].argmin()]
        near = own[squares[own] <= most]
        near = near if len(near) else np.array([best])
        c, w = table.centre[near], table.width[near]
        at, wide = float(table.centre[best]), float(table.width[best])
        others = np.unique(table.width[own])
        place = int(np.searchsorted(others, wide))
        lower, upper = others[max(place - 1, 0)], others[min(place + 1, len(others) - 1)]
        step = max(0.25 * max(wide, float(gap_at(x, at))), 1e-9) if len(others) > WIDTHS else _step(table.centre[own])
        low, high = min(float(c.min()), at - step), max(float(c.max()), at + step)
        narrow, broad = min(float(w.min()), float(lower)), max(float(w.max()), float(upper))
        done = done and len(near) >= WIDTHS
        tried = np.unique(np.append(np.geomspace(max(narrow, 1e-6), broad, WIDTHS - 1), limits.max_width))
        both = np.meshgrid(np.linspace(low, high, CENTRES), tried)
        centre.append(both[0].ravel())
        width.append(both[1].ravel())
        shape.append(np.full(both[0].size, kind))
    return make_readings(x, np.concatenate(shape), np.concatenate(centre), np.concatenate(width), shapes), done


def _step(centres: Float[ndarray, "reading"]) -> float:
    found = np.unique(centres)
    return float(found[1] - found[0]) if len(found) > 1 else 0.0


def _allowed(
    change: Change, least: float, freedom: int, quantile: float, looks: list[tuple[Readings, ndarray]]
) -> float:
    """By how much a reading's sum of squares may exceed the least: errors at the rise may be larger than elsewhere."""
    table, squares = min(looks, key=lambda look: float(look[1].min()))
    best = int(squares.argmin())
    residual = _residual(change, table.values[:, best])
    reach = max(float(table.width[best]), float(gap_at(change.data.x, table.centre[best])))
    factor = _local_error(change, residual, float(table.centre[best]), reach)
    return quantile * factor**2 * _variance(change, min(least, float(squares[best])), freedom)


def _variance(change: Change, squares: float, freedom: int) -> float:
    return max(squares / freedom, change.data.floor / len(change.data))


def _residual(change: Change, share: Float[ndarray, "point"]) -> Float[ndarray, "point"]:
    level, height = _levels(change, share)
    return change.target - level - height * share


def _levels(change: Change, share: Float[ndarray, "point"]) -> tuple[float, float]:
    """The plateau before, and the height, by least squares."""
    data = change.data
    white = data.white(np.column_stack([np.ones(len(data)), share]))
    level, height = np.linalg.lstsq(white, data.white(change.target), rcond=1e-9)[0]
    return float(level), float(height)


def _summary(
    change: Change,
    limits: Limits,
    looks: list[tuple[Readings, Float[ndarray, "reading"]]],
    shapes: tuple[Shape, ...],
    freedom: int,
    quantile: float,
) -> Reading:
    squares = np.concatenate([s for _, s in looks])
    shape, centre, width = (
        np.concatenate([getattr(table, name) for table, _ in looks]) for name in ("shape", "centre", "width")
    )
    n_confirm = INSTRUMENT.confirm if limits.confirm else 1
    least = float(squares.min())
    allowed = _allowed(change, least, freedom, quantile, looks)
    fits = [s <= least + allowed for _, s in looks]
    seen = [table.visible(some, n_confirm) for (table, _), some in zip(looks, fits, strict=True)]
    before, after = (np.concatenate([each[side] for each in seen]) for side in (0, 1))
    low, high, cut = _widths(width[np.concatenate(fits)], before, after, limits)
    each = [np.flatnonzero(shape == kind) for kind in range(len(shapes))]
    best = [int(own[squares[own].argmin()]) for own in each if len(own)]
    excess = squares[best] - least
    variance = _variance(change, least, freedom)
    weight = np.exp(-excess / variance / 2)
    weight /= weight.sum()
    fine, dense = _mean(change.data.x, [(shapes[shape[p]], centre[p], width[p]) for p in best], weight)
    ten, middle, ninety = crossings(fine, dense)
    open_ = np.isin(shape, shape[np.array(best)[excess <= chdtri(2, 1 - INSTRUMENT.shape_level) * variance]])
    floor_of = np.full(len(shapes), least)
    for place in best:
        floor_of[shape[place]] = squares[place]
    likely = open_ & (squares <= floor_of[shape] + allowed)
    return Reading(
        squares=least,
        width_low=low,
        width_high=high,
        cut=cut,
        share=np.interp(change.data.x, fine, dense),
        middle=middle,
        width=ninety - ten,
        low=float(centre[likely].min()),
        high=float(centre[likely].max()),
    )


def _mean(
    x: Float[ndarray, "point"], rises: list[tuple[Shape, float, float]], weight: Float[ndarray, "rise"]
) -> tuple[Float[ndarray, "place"], Float[ndarray, "place"]]:
    """A dense axis within the range, and the weighted mean of some rises on it, from 0 to 1."""
    reaches = [np.linspace(centre - 1.5 * width, centre + 1.5 * width, 80) for _, centre, width in rises]
    fine = np.unique(np.clip(np.concatenate([np.linspace(x[0], x[-1], 400), x, *reaches]), x[0], x[-1]))
    dense = sum(w * placed(*rise[:1], fine, *rise[1:]) for w, rise in zip(weight, rises, strict=True) if w > 1e-6)
    dense = np.asarray(dense)
    return fine, (dense - dense[0]) / max(float(dense[-1] - dense[0]), 1e-12)


def _widths(
    width: Float[ndarray, "reading"],
    before: Bool[ndarray, "reading"],
    after: Bool[ndarray, "reading"],
    limits: Limits,
) -> tuple[float, float, str]:
    """The least and the largest width of the readings that fit, and which end of the range cuts off the narrow ones.

    A narrow reading without a plateau on either side is a straight line through the range: infinitely wide.
    """
    narrow = width <= limits.max_width
    whole, line, part = narrow & before & after, narrow & ~before & ~after, narrow & (before != after)
    known = np.concatenate([width[whole], width[~narrow]])
    known = np.append(known, np.inf) if line.any() else known
    if not len(known):
        known = width[part]
    cut = ""
    if part.any() and not whole.any():
        cut = "last" if before[part].mean() >= 0.5 else "first"
    return float(known.min()), float(known.max()), cut


def _local_error(change: Change, residual: Float[ndarray, "point"], middle: float, reach: float) -> float:
    """Errors around the rise relative to those of the whole curve, as they are known, or as large as the residuals make
    most likely; at least 1: half-way up a score is at its noisiest."""
    distance = np.abs(change.data.x - middle)
    least = min(LEAST_NEAR, len(distance))
    near = distance <= max(reach, float(np.partition(distance, least - 1)[least - 1]))
    variance = change.sigma**2 if change.sigma.any() else _likeliest(change.target - residual, residual)
    return max(1.0, float(np.sqrt(variance[near].mean() / variance.mean())))


def _likeliest(fitted: Float[ndarray, "point"], residual: Float[ndarray, "point"]) -> Float[ndarray, "point"]:
    """The errors' variance, but for a factor: constant, or like a binomial's between levels a little beyond the fit's."""
    share = (fitted - fitted.min()) / max(float(np.ptp(fitted)), 1e-12)
    shapes = [(share + beyond) * (1 + beyond - share) for beyond in BEYOND]
    unlikely = [np.log(v).mean() + np.log(max(float((residual**2 / v).mean()), 1e-30)) for v in shapes]
    return shapes[int(np.argmin(unlikely))]
