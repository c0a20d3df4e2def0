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
    least = float(first.min())
    looks = [(table, first)]
    for _ in range(LOOKS):
        least = min(least, float(first.min()))
        far = float(first.min()) + 3 * quantile * _variance(change, least, freedom)
        finer, done = _closer(table, first, far, data.x, shapes, limits)
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
    kinds, ends, done = [], [], True
    edges = np.searchsorted(table.shape, np.arange(len(shapes) + 1))
    for kind, own in enumerate(map(slice, edges[:-1].tolist(), edges[1:].tolist())):
        if own.start == own.stop:
            continue
        left, c, w = squares[own], table.centre[own], table.width[own]
        best, near = int(left.argmin()), left <= most
        at, wide = float(c[best]), float(w[best])
        near[best] |= not near.any()
        others = sorted(set(w.tolist()))
        place = others.index(wide)
        lower, upper = others[max(place - 1, 0)], others[min(place + 1, len(others) - 1)]
        step = max(0.25 * max(wide, float(gap_at(x, at))), 1e-9) if len(others) > WIDTHS else _step(c)
        kinds.append(kind)
        ends.append((min(float(c[near].min()), at - step), max(float(c[near].max()), at + step),
                     max(min(float(w[near].min()), lower), 1e-6), max(float(w[near].max()), upper)))  # fmt: skip
        done = done and int(near.sum()) >= WIDTHS
    low, high, narrow, broad = np.array(ends).T
    places, wides = np.linspace(low, high, CENTRES), np.geomspace(narrow, broad, WIDTHS - 1)
    tried = [sorted({*own, limits.max_width}) for own in wides.T.tolist()]
    sizes = [CENTRES * len(own) for own in tried]
    centre = np.concatenate([own for own, some in zip(places.T, tried, strict=True) for _ in some])
    width = np.repeat(np.concatenate(tried), CENTRES)
    return make_readings(x, np.repeat(kinds, sizes), centre, width, shapes), done


def _step(centres: Float[ndarray, "reading"]) -> float:
    found = np.unique(centres)
    return float(found[1] - found[0]) if len(found) > 1 else 0.0


def _variance(change: Change, squares: float, freedom: int) -> float:
    return max(squares / freedom, change.data.floor / len(change.data))


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
    variance = _variance(change, least, freedom)
    fits = [s <= least + quantile * variance for _, s in looks]
    seen = [table.visible(some, n_confirm) for (table, _), some in zip(looks, fits, strict=True)]
    before, after = (np.concatenate([each[side] for each in seen]) for side in (0, 1))
    low, high, cut = _widths(width[np.concatenate(fits)], before, after, limits)
    each = [np.flatnonzero(shape == kind) for kind in range(len(shapes))]
    best = [int(own[squares[own].argmin()]) for own in each if len(own)]
    excess = squares[best] - least
    weight = np.exp(-excess / variance / 2)
    weight /= weight.sum()
    fine, dense = _mean(change.data.x, [(shapes[shape[p]], centre[p], width[p]) for p in best], weight)
    ten, middle, ninety = crossings(fine, dense)
    open_ = np.isin(shape, shape[np.array(best)[excess <= chdtri(2, 1 - INSTRUMENT.shape_level) * variance]])
    floor_of = np.full(len(shapes), least)
    for place in best:
        floor_of[shape[place]] = squares[place]
    allowed = float(stdtrit(freedom, (1 + INSTRUMENT.band_level) / 2)) ** 2 * variance
    likely = open_ & (squares <= floor_of[shape] + allowed)
    table = looks[-1][0]
    half = max(float(np.ptp(table.centre[table.shape == kind])) for kind in set(table.shape.tolist())) / (
        2 * CENTRES - 2
    )
    return Reading(
        squares=least,
        width_low=low,
        width_high=high,
        cut=cut,
        share=np.interp(change.data.x, fine, dense),
        middle=middle,
        width=ninety - ten,
        low=float(centre[likely].min()) - half,
        high=float(centre[likely].max()) + half,
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
    cut, through = "", ~before & ~after
    if part.any() and not whole.any() and not through.any():
        cut = "last" if before[part].mean() >= 0.5 else "first"
    return float(known.min()), float(known.max()), cut
