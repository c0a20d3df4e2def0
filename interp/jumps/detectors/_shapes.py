"""Rises of several shapes: a sigmoid is a guess, and what is said of a jump should not hang on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from interp.jumps.detectors._atoms import Atoms, whiten
from interp.jumps.detectors._fit import Fit, gains

ZOOMS, FINER, PLACES = 2, 7, 2401

_WIDE = np.linspace(-12, 12, PLACES)
_FORMS: tuple[Callable[[ndarray], ndarray], ...] = (
    lambda u: 1 / (1 + np.exp(-u)),
    lambda u: np.clip(u, 0, 1),
    lambda u: np.exp(-np.exp(-u)),
    lambda u: 1 - np.exp(-np.exp(u)),
    lambda u: 1 - np.exp(-np.maximum(u, 0)),
    lambda u: np.exp(np.minimum(u, 0)),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """A rise from 0 to 1, in even steps on an axis of its own: half of it is done at 0, and it takes 1 from 10 to 90 %."""

    start: float
    step: float
    values: Float[ndarray, "place"]
    slopes: Float[ndarray, "place"]


def shape_of(x: Float[ndarray, "place"], share: Float[ndarray, "place"]) -> Shape:
    """The shape of a rise that is known at some places, in rising order."""
    low, middle, high = (float(np.interp(level, np.maximum.accumulate(share), x)) for level in (0.1, 0.5, 0.9))
    even = np.linspace(x[0], x[-1], PLACES)
    values, width = np.interp(even, x, share), max(high - low, 1e-9)
    step = float(even[1] - even[0]) / width
    return Shape(start=float(x[0] - middle) / width, step=step, values=values, slopes=np.append(np.diff(values), 0.0))


# By where the steep part lies: in the middle (logistic, straight), early (Gompertz, saturation), late (their mirrors).
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
class Profile:
    """squares: left with one more rise, by its centre, the width the best; and the best centre of all, with its
    width."""

    squares: Float[ndarray, "centre"]
    centre: float
    width: float


def profile(
    target: Float[ndarray, "point"],
    rest: Fit,
    shape: Shape,
    centres: Float[ndarray, "centre"],
    widths: Float[ndarray, "width"],
) -> Profile:
    """One more rise of a shape beside `rest`, a fit to `target`, with every centre; its 10-90 % width is sought among
    `widths`, in rising order, and between the neighbours of the best, ZOOMS times."""
    tried = np.log(np.tile(widths, (len(centres), 1)))
    for zoom in range(ZOOMS + 1):
        width = np.exp(tried)
        values = placed(shape, rest.x[:, None, None], centres[:, None], width)
        values = whiten(values.reshape(len(target), -1), rest.rho)
        centre, power = np.repeat(centres, width.shape[1]), (values**2).sum(0)
        atoms = Atoms(x=rest.x, centre=centre, width=width.ravel(), values=values, power=power, rho=rest.rho)
        squares = (rest.squares - gains(target, rest, atoms)).reshape(width.shape)
        if zoom < ZOOMS:
            best = squares.argmin(1)[:, None]
            last = width.shape[1] - 1
            low, high = (np.take_along_axis(tried, np.clip(best + d, 0, last), 1) for d in (-1, 1))
            tried = low + (high - low) * np.linspace(0, 1, FINER)
    at = int(squares.argmin())
    return Profile(squares=squares.min(1), centre=float(atoms.centre[at]), width=float(atoms.width[at]))
