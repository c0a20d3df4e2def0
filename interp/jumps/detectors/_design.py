"""What the curves of one grid share: candidate shapes at its checkpoints, made once and kept.

A change is a rise from 0 to 1 with a centre, where half of it is done, and a 10-90 % width in decades. Places follow the
grid's own intervals and widths are absolute, so that a checkpoint far away, or other units of step, change nothing nearby.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from interp.jumps.detectors._atoms import sigmoid, unwhiten, whiten
from interp.jumps.instrument import INSTRUMENT

PLACES = 2401
_WIDE = np.linspace(-12, 12, PLACES)
_FORMS: tuple[Callable[[ndarray], ndarray], ...] = (
    lambda u: 1 / (1 + np.exp(-u)),
    lambda u: np.clip(u, 0, 1),
    lambda u: np.exp(-np.exp(-u)),
    lambda u: 1 - np.exp(-np.exp(u)),
    lambda u: 1 - np.exp(-np.maximum(u, 0)),
    lambda u: np.exp(np.minimum(u, 0)),
)
"""By where the steep part lies: in the middle (logistic, straight in log step), early (Gompertz, saturation: a power law
of the step), late (their mirrors; the last is a power of the step, a straight line in step among them)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """A rise from 0 to 1, in even steps on an axis of its own: half of it is done at 0, and it takes 1 from 10 to 90 %."""

    start: float
    step: float
    values: Float[ndarray, "place"]
    slopes: Float[ndarray, "place"]


def shape_of(x: Float[ndarray, "place"], share: Float[ndarray, "place"]) -> Shape:
    """The shape of a rise that is known at some places, in rising order."""
    low, middle, high = crossings(x, share)
    even = np.linspace(x[0], x[-1], PLACES)
    values, width = np.interp(even, x, share), max(high - low, 1e-9)
    step = float(even[1] - even[0]) / width
    return Shape(start=float(x[0] - middle) / width, step=step, values=values, slopes=np.append(np.diff(values), 0.0))


def crossings(x: Float[ndarray, "place"], share: Float[ndarray, "place"]) -> tuple[float, float, float]:
    """Where 10, 50 and 90 % of a rise are first reached."""
    climbed = np.maximum.accumulate(share)
    low, middle, high = (float(np.interp(level, climbed, x)) for level in (0.1, 0.5, 0.9))
    return low, middle, high


SHAPES = tuple(shape_of(_WIDE, form(_WIDE)) for form in _FORMS)


def placed(shape: Shape, x: Float[ndarray, "*point"], centre: float | ndarray, width: float | ndarray) -> ndarray:
    """The shape with a centre and a 10-90 % width, at x: by linear interpolation, several times as fast as np.interp
    since the places are even."""
    at = ((x - centre) / width - shape.start) / shape.step
    np.clip(at, 0, PLACES - 1, out=at)
    below = at.astype(np.intp)
    at -= below
    return np.asarray(shape.values[below] + at * shape.slopes[below])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Readings:
    """Single rises at a grid's points, ready for every curve on it. shape: place in the tuple of shapes."""

    x: Float[ndarray, "point"]
    shape: Int[ndarray, "reading"]
    centre: Float[ndarray, "reading"]
    width: Float[ndarray, "reading"]
    values: Float[ndarray, "point reading"]

    def squares(self, y: Float[ndarray, "point"], weight: Float[ndarray, "point"], rho: float) -> ndarray:
        """What a constant and each rise leave of `y` by least squares; rows weighted, errors first-order
        autoregressive."""
        one, target = whiten(weight, rho), whiten(weight * y, rho)
        one = one / np.linalg.norm(one)
        target = target - one * (one @ target)
        both = np.stack([target, one], 1)
        if rho:
            both = unwhiten(both, rho)
        overlap, constant = (weight[:, None] * both).T @ self.values
        power = self._power(weight, rho) - constant**2
        gain = np.where(power > 1e-9, overlap**2 / np.maximum(power, 1e-9), 0.0)
        return float(target @ target) - gain

    def _power(self, weight: Float[ndarray, "point"], rho: float) -> Float[ndarray, "reading"]:
        """The sum of squares of each whitened column."""
        even = bool((weight == 1).all())
        v = self.values if even else weight[:, None] * self.values
        power = np.einsum("ij,ij->j", v, v)
        if rho == 0:
            return power
        neighbours = np.einsum("ij,ij->j", v[1:], v[:-1])
        return (1 + rho**2) * power - 2 * rho * neighbours - rho**2 * (v[0] ** 2 + v[-1] ** 2)

    def visible(
        self, some: Bool[ndarray, "reading"], n_confirm: int
    ) -> tuple[Bool[ndarray, "some"], Bool[ndarray, "some"]]:
        """Whether at least so many checkpoints show the plateau before some of them, and after."""
        edge, values = INSTRUMENT.plateau_share, self.values[:, some]
        return (values < edge).sum(0) >= n_confirm, (values > 1 - edge).sum(0) >= n_confirm


def make_readings(
    x: Float[ndarray, "point"],
    shape: Int[ndarray, "reading"],
    centre: Float[ndarray, "reading"],
    width: Float[ndarray, "reading"],
    shapes: tuple[Shape, ...] = SHAPES,
) -> Readings:
    """Rises of given shapes, centres and widths, in order of shape."""
    order = np.argsort(shape, kind="stable")
    shape, centre, width = shape[order], centre[order], width[order]
    edges = np.searchsorted(shape, np.arange(len(shapes) + 1))
    parts = [
        placed(one, x[:, None], centre[first:stop], width[first:stop])
        for one, first, stop in zip(shapes, edges[:-1], edges[1:], strict=True)
        if first < stop
    ]
    return Readings(x=x, shape=shape, centre=centre, width=width, values=np.concatenate(parts, axis=1))


def widths(x: Float[ndarray, "point"], ratio: float, widest: float) -> Float[ndarray, "width"]:
    """Absolute widths, `ratio` apart, from a fraction of the finest interval to `widest` times the range."""
    least = max(float(np.diff(x).min()) / 2, INSTRUMENT.narrowest)
    most = widest * float(x[-1] - x[0])
    low, high = np.floor(np.log(least) / np.log(ratio)), np.ceil(np.log(max(most, least)) / np.log(ratio))
    return np.asarray(ratio ** np.arange(low, high + 1))


def centres(x: Float[ndarray, "point"], width: float, spacing: float) -> Float[ndarray, "centre"]:
    """Centres along the grid's intervals, `spacing` widths apart at the most, at most four an interval, and not where
    the interval could not show the width."""
    gaps = np.diff(x)
    room = gaps <= 2 * width
    pieces = np.clip(np.ceil(gaps / (spacing * width)), 1, 1 if len(x) > INSTRUMENT.long else 4).astype(int)
    found = np.concatenate(
        [x[i] + gaps[i] * (np.arange(pieces[i]) + 0.5) / pieces[i] for i in np.flatnonzero(room)] or [np.zeros(0)]
    )
    if not len(found):
        return found
    bins = np.floor((found - found[0]) / (spacing * width / 2))
    return found[np.append(True, np.diff(bins) > 0)] if len(found) > 1 else found


@lru_cache(maxsize=32)
def readings(grid: tuple[float, ...]) -> Readings:
    """The rises of every shape that a grid can show: a step in every interval, and rises of every width and place."""
    x = np.array(grid)
    gaps = np.diff(x)
    centre, width = [x[:-1] + gaps / 2], [gaps * 0.02]
    shape = [np.zeros(len(gaps), int)]
    for one in widths(x, INSTRUMENT.reading_ratio, INSTRUMENT.widest):
        at = centres(x, one, INSTRUMENT.reading_spacing)
        for kind in range(len(SHAPES)):
            centre.append(at)
            width.append(np.full(len(at), one))
            shape.append(np.full(len(at), kind))
    return make_readings(x, np.concatenate(shape), np.concatenate(centre), np.concatenate(width))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Terms:
    """Sigmoids at a grid's points for the fit of a whole curve, whitened, orthogonal to the constant, with their
    products. power: their sums of squares; moves: how far each gets, of 1, within the range; some: evenly chosen ones,
    among which pairs are sought; paired: the products of these."""

    centre: Float[ndarray, "atom"]
    width: Float[ndarray, "atom"]
    moves: Float[ndarray, "atom"]
    values: Float[ndarray, "point atom"]
    products: Float[ndarray, "atom atom"]
    power: Float[ndarray, "atom"]
    some: Int[ndarray, "some"]
    paired: Float[ndarray, "some some"]


@lru_cache(maxsize=48)
def sigmoids(
    grid: tuple[float, ...],
) -> tuple[Float[ndarray, "atom"], Float[ndarray, "atom"], Float[ndarray, "point atom"]]:
    """Centres, widths and values of a grid's sigmoids."""
    x = np.array(grid)
    gaps = np.diff(x)
    centre, width = [x[:-1] + gaps / 2], [gaps * 0.02]
    for one in widths(x, INSTRUMENT.term_ratio, INSTRUMENT.widest_term):
        at = centres(x, one, INSTRUMENT.term_spacing)
        centre.append(at)
        width.append(np.full(len(at), one))
    places, wide = np.concatenate(centre), np.concatenate(width)
    values = sigmoid(x, places, wide)
    kept = np.ptp(values, axis=0) > 0.05
    return places[kept], wide[kept], values[:, kept]


def terms(grid: tuple[float, ...], weight: Float[ndarray, "point"], rho: float) -> Terms:
    """The sigmoids of a grid, for rows of given weights and errors with lag-1 autocorrelation `rho`."""
    return _even_terms(grid, rho) if (weight == 1).all() else _terms(grid, weight, rho)


@lru_cache(maxsize=48)
def _even_terms(grid: tuple[float, ...], rho: float) -> Terms:
    return _terms(grid, np.ones(len(grid)), rho)


def _terms(grid: tuple[float, ...], weight: Float[ndarray, "point"], rho: float) -> Terms:
    centre, width, values = sigmoids(grid)
    white, one = whiten(weight[:, None] * values, rho), whiten(weight, rho)
    one = one / np.linalg.norm(one)
    white -= one[:, None] * (one @ white)
    some = np.unique(np.linspace(0, len(centre) - 1, min(len(centre), INSTRUMENT.paired)).round().astype(int))
    products = white.T @ white
    return Terms(
        centre=centre,
        width=width,
        moves=np.ptp(values, axis=0),
        values=white,
        products=products,
        power=np.diag(products),
        some=some,
        paired=products[np.ix_(some, some)],
    )
