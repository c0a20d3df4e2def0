"""A constant and some sigmoids, fitted by least squares: what is fitted, weights, what a term or a point is worth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from interp.jumps.detectors._atoms import gap_at, grid_of, sigmoid, unwhiten, whiten
from interp.jumps.instrument import INSTRUMENT

_SHIFTS, _STRETCHES = np.linspace(-1, 1, 9), np.arange(-3, 4)
"""The local lattice on which a term is refined."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Data:
    """What is fitted: places on the log axis, values, the root of each value's weight, the errors' lag-1
    autocorrelation, and the least believable sum of squares."""

    x: Float[ndarray, "point"]
    y: Float[ndarray, "point"]
    weight: Float[ndarray, "point"]
    rho: float
    floor: float

    def __len__(self) -> int:
        return len(self.x)

    @property
    def grid(self) -> tuple[float, ...]:
        return grid_of(self.x)

    def white(self, columns: Float[ndarray, "point *rest"]) -> Float[ndarray, "point *rest"]:
        """Columns (or values) with their rows weighted and their errors made white."""
        rows = self.weight if columns.ndim == 1 else self.weight[:, None]
        return whiten(rows * columns, self.rho)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """y = constant + sum of rise * sigmoid(centre, width). squares: what is left of the whitened values; at: the fitted
    curve at the points."""

    centre: Float[ndarray, "term"]
    width: Float[ndarray, "term"]
    rise: Float[ndarray, "term"]
    at: Float[ndarray, "point"]
    squares: float


def term_price(n_points: int) -> float:
    """What a term must gain in n ln(SSE)."""
    slope, search = INSTRUMENT.term_price
    return slope * float(np.log(n_points)) + search


def evidence(data: Data, worse: float, better: float) -> float:
    """n ln(SSE ratio) for the better of two fits; sums of squares below the floor are not told apart."""
    return len(data) * float(np.log(max(worse, data.floor) / max(better, data.floor)))


def weighted(data: Data, sigma: Float[ndarray, "point"], fit: Fit) -> Data:
    """The data with the weights that its errors ask for: known ones, or of constant size, or like a binomial's between
    levels a little beyond the fit's, whichever makes the residuals most likely: half-way up a score is at its
    noisiest."""
    if np.ptp(sigma) > 0:
        variance = sigma**2 + INSTRUMENT.least_error * float((sigma**2).mean())
    else:
        share = (fit.at - fit.at.min()) / max(float(np.ptp(fit.at)), 1e-12)
        shapes = [np.ones(len(data)), *((share + far) * (1 + far - share) for far in INSTRUMENT.beyond)]
        squares = (data.y - fit.at) ** 2 + data.floor / len(data)
        unlikely = [np.log(v).mean() + np.log(float((squares / v).mean())) for v in shapes]
        unlikely[0] -= INSTRUMENT.uneven / len(data)
        variance = shapes[int(np.argmin(unlikely))]
    return replace(data, weight=np.sqrt(variance.mean() / variance))


def solve(data: Data, centre: Float[ndarray, "term"], width: Float[ndarray, "term"]) -> Fit:
    """The least-squares rises for given centres and widths."""
    design = _design(data, centre, width)
    return _solved(centre, width, design, data.white(design), data.white(data.y))


def _design(data: Data, centre: Float[ndarray, "term"], width: Float[ndarray, "term"]) -> Float[ndarray, "point term1"]:
    """A constant and sigmoids."""
    design = np.ones((len(data), 1 + len(centre)))
    design[:, 1:] = sigmoid(data.x, centre, width)
    return design


def _solved(
    centre: Float[ndarray, "term"],
    width: Float[ndarray, "term"],
    design: Float[ndarray, "point term1"],
    white: Float[ndarray, "point term1"],
    target: Float[ndarray, "point"],
) -> Fit:
    weights = np.linalg.lstsq(white, target, rcond=1e-9)[0]
    squares = float(((target - white @ weights) ** 2).sum())
    return Fit(centre=centre, width=width, rise=weights[1:], at=design @ weights, squares=squares)


def polish(data: Data, fit: Fit) -> Fit:
    """Refine centres and widths on a fine local lattice, one term at a time."""
    widest, target = INSTRUMENT.widest_term * (data.x[-1] - data.x[0]), data.white(data.y)
    design = _design(data, fit.centre, fit.width)
    white = data.white(design)
    for stretch, reach in ((1.4**_STRETCHES, 0.6), (1.1**_STRETCHES, 0.2)):
        for term in range(len(fit.centre)):
            shift = max(float(gap_at(data.x, fit.centre[term])), 0.3 * fit.width[term]) * reach * _SHIFTS
            centre = np.concatenate([fit.centre[term] + shift] * len(stretch))
            width = np.repeat(np.minimum(fit.width[term] * stretch, widest), len(shift))
            atoms = sigmoid(data.x, centre, width)
            bright = data.white(atoms)
            best = int(gains(np.delete(white, 1 + term, axis=1), target, bright).argmax())
            centres, widths = fit.centre.copy(), fit.width.copy()
            centres[term], widths[term] = centre[best], width[best]
            tried, whitened = design.copy(), white.copy()
            tried[:, 1 + term], whitened[:, 1 + term] = atoms[:, best], bright[:, best]
            candidate = _solved(centres, widths, tried, whitened, target)
            if candidate.squares < fit.squares and tame(data, candidate.rise * _moves(data, candidate)):
                fit, design, white = candidate, tried, whitened
    return fit


def gains(
    white: Float[ndarray, "point term"], target: Float[ndarray, "point"], atoms: Float[ndarray, "point atom"]
) -> Float[ndarray, "atom"]:
    """The fall of the sum of squares that each further atom would bring beside some terms, all whitened."""
    basis, residual = _explained(white, target)
    return _gain((atoms**2).sum(0), basis.T @ atoms, residual @ atoms)


def worth(data: Data, fit: Fit) -> Float[ndarray, "point"]:
    """The fall of the sum of squares when each point alone is set aside: the gain of a unit vector as one more term."""
    basis, residual = _explained(data.white(_design(data, fit.centre, fit.width)), data.white(data.y))
    power = np.full(len(data), 1 + data.rho**2)
    power[[0, -1]] = 1
    shared, overlap = unwhiten(basis, data.rho).T * data.weight, unwhiten(residual, data.rho) * data.weight
    return _gain(power * data.weight**2, shared, overlap)


def _explained(
    white: Float[ndarray, "point term"], target: Float[ndarray, "point"]
) -> tuple[Float[ndarray, "point term"], Float[ndarray, "point"]]:
    """An orthonormal basis of what a whitened constant and terms can say, and what they leave of the whitened values."""
    basis, upper = np.linalg.qr(white)
    basis = basis[:, np.abs(np.diag(upper)) > 1e-9]
    return basis, target - basis @ (basis.T @ target)


def _gain(
    power: Float[ndarray, "atom"], shared: Float[ndarray, "term atom"], overlap: Float[ndarray, "atom"]
) -> Float[ndarray, "atom"]:
    left = power - (shared**2).sum(0)
    return np.where(left > 1e-6 * power, overlap**2 / np.maximum(left, 1e-12), 0.0)


def _moves(data: Data, fit: Fit) -> Float[ndarray, "term"]:
    """How far each term gets, of 1, within the range."""
    return np.asarray(np.ptp(sigmoid(data.x[[0, -1]], fit.centre, fit.width), axis=0))


def tame(data: Data, moved: Float[ndarray, "term"]) -> bool:
    return bool((np.abs(moved) <= INSTRUMENT.tame * np.ptp(data.y)).all())


def pruned(data: Data, fit: Fit, price: float) -> Fit:
    """Without the terms that, after polishing, are not worth their price."""
    while len(fit.centre) > 1:
        fewer = [
            solve(data, np.delete(fit.centre, term), np.delete(fit.width, term)) for term in range(len(fit.centre))
        ]
        best = polish(data, min(fewer, key=lambda rest: rest.squares))
        if evidence(data, best.squares, fit.squares) > price:
            return fit
        fit = best
    return fit


def outlier_of(data: Data, fit: Fit) -> int | None:
    """The inner point beyond both its neighbours, by half of its distance from the fit at least, whose deletion explains
    most, where it stands out as a spike does."""
    y = data.y
    before, after = y[1:-1] - y[:-2], y[1:-1] - y[2:]
    alone = np.minimum(np.abs(before), np.abs(after)) >= 0.5 * np.abs(y - fit.at)[1:-1]
    beyond = (before * after > 0) & alone
    freedom = len(y) - 2 - 3 * len(fit.centre)
    if freedom < 3 or not beyond.any():
        return None
    gain = np.where(beyond, worth(data, fit)[1:-1], 0.0)
    noise = max(fit.squares - gain.max(), data.floor) / freedom
    return int(gain.argmax()) + 1 if gain.max() > INSTRUMENT.spike**2 * noise else None
