"""A constant and a few sigmoids, fitted by least squares: greedy terms, each re-chosen given the others, then
polished."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from interp.jumps.detectors._atoms import Atoms, gap_at, make_atoms, sigmoid, stride, unwhiten, whiten

ROUNDS = 3
MOST_RISE = 1.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """y = constant + sum of rise * sigmoid(centre, width), by least squares after whitening with `rho`.

    squares: the sum of squares of the whitened residuals.
    """

    x: Float[ndarray, "point"]
    constant: float
    centre: Float[ndarray, "term"]
    width: Float[ndarray, "term"]
    rise: Float[ndarray, "term"]
    squares: float
    rho: float = 0.0

    def parts(self, x: Float[ndarray, "point"] | None = None) -> Float[ndarray, "point term"]:
        """The terms' contributions at `x` (default: the fitted points)."""
        return sigmoid(self.x if x is None else x, self.centre, self.width) * self.rise

    def at(self, x: Float[ndarray, "point"] | None = None) -> Float[ndarray, "point"]:
        """The fitted curve at `x`."""
        return self.constant + self.parts(x).sum(1)


def solve(
    x: Float[ndarray, "point"],
    y: Float[ndarray, "point"],
    centre: Float[ndarray, "term"],
    width: Float[ndarray, "term"],
    rho: float = 0.0,
) -> Fit:
    """The least-squares rises for given centres and widths."""
    design, target = whiten(_design(x, centre, width), rho), whiten(y, rho)
    weights = np.linalg.lstsq(design, target, rcond=1e-9)[0]
    squares = float(((target - design @ weights) ** 2).sum())
    return Fit(x=x, constant=float(weights[0]), centre=centre, width=width, rise=weights[1:], squares=squares, rho=rho)


def grow(y: Float[ndarray, "point"], fit: Fit, atoms: Atoms, allowed: Bool[ndarray, "atom"] | None = None) -> Fit:
    """The fit with one more term, the one of the allowed atoms that explains most."""
    best = _best_atom(y, fit, atoms, allowed)
    centre, width = np.append(fit.centre, atoms.centre[best]), np.append(fit.width, atoms.width[best])
    return solve(fit.x, y, centre, width, fit.rho)


def settle(y: Float[ndarray, "point"], fit: Fit, atoms: Atoms, allowed: Bool[ndarray, "atom"] | None = None) -> Fit:
    """Re-choose every term given the others until nothing improves; `allowed` restricts all terms."""
    for _ in range(ROUNDS):
        before = fit.squares
        for term in range(len(fit.centre)):
            rest = without(y, fit, term)
            candidate = grow(y, rest, atoms, allowed)
            if candidate.squares < fit.squares and tame(y, candidate):
                fit = candidate
        if fit.squares > 0.999 * before:
            break
    return fit


def polish(y: Float[ndarray, "point"], fit: Fit, *, most: float = np.inf, least: float = 0.0) -> Fit:
    """Refine centres and widths on a fine local lattice, one term at a time; widths stay within [least, most]."""
    coarse = stride(len(y))
    for factor, reach in ((2.0, 0.6 * coarse), (1.3, 0.6), (1.08, 0.15))[coarse == 1 :]:
        for term in range(len(fit.centre)):
            shift = max(float(gap_at(fit.x, fit.centre[term])), 0.3 * fit.width[term]) * reach * np.linspace(-1, 1, 9)
            stretch = factor ** np.arange(-4, 5)
            centre, width = (a.ravel() for a in np.meshgrid(fit.centre[term] + shift, fit.width[term] * stretch))
            width = np.clip(width, least, most)
            local = make_atoms(fit.x, centre, width, fit.rho)
            rest = without(y, fit, term)
            best = _best_atom(y, rest, local, None)
            centres, widths = fit.centre.copy(), fit.width.copy()
            centres[term], widths[term] = centre[best], width[best]
            candidate = solve(fit.x, y, centres, widths, fit.rho)
            if candidate.squares < fit.squares and tame(y, candidate):
                fit = candidate
    return fit


def tame(y: Float[ndarray, "point"], fit: Fit) -> bool:
    """Whether no term moves further than MOST_RISE times the data: terms that cancel each other describe nothing."""
    return bool((np.ptp(fit.parts(), axis=0) <= MOST_RISE * np.ptp(y)).all())


def term_price(n_points: int) -> float:
    """What a term (centre, width, rise) must gain in n ln(SSE): three parameters of BIC and the search over
    the dictionary."""
    return 3 * np.log(n_points) + 4


def evidence(n_points: int, worse: float, better: float, floor: float) -> float:
    """n ln(SSE ratio) for the better of two fits that are whitened alike; sums of squares below `floor` are not told
    apart."""
    return n_points * float(np.log(max(worse, floor) / max(better, floor)))


def without(y: Float[ndarray, "point"], fit: Fit, term: int | Int[ndarray, "some"]) -> Fit:
    """The fit with a term, or some, left out and the others' rises solved anew."""
    return solve(fit.x, y, np.delete(fit.centre, term), np.delete(fit.width, term), fit.rho)


def part(y: Float[ndarray, "point"], fit: Fit, term: int) -> Fit:
    """The fit with a term parted in two steep ones, where a quarter and three quarters of it are done."""
    apart = np.log(3) / (2 * np.log(9)) * fit.width[term]
    centre = np.append(np.delete(fit.centre, term), fit.centre[term] + apart * np.array([-1, 1]))
    width = np.append(np.delete(fit.width, term), np.full(2, 0.2 * fit.width[term]))
    return solve(fit.x, y, centre, width, fit.rho)


def empty(x: Float[ndarray, "point"], y: Float[ndarray, "point"], rho: float = 0.0) -> Fit:
    """The constant."""
    return solve(x, y, np.zeros(0), np.zeros(0), rho)


def gains(y: Float[ndarray, "point"], fit: Fit, atoms: Atoms) -> Float[ndarray, "atom"]:
    """The fall of the sum of squares that each atom would bring as one more term."""
    basis, residual = _explained(y, fit)
    return _gain(atoms.power, basis.T @ atoms.values, residual @ atoms.values)


def worth(y: Float[ndarray, "point"], fit: Fit) -> Float[ndarray, "point"]:
    """The fall of the sum of squares when each point alone is set aside: the gain of a unit vector as one more term."""
    basis, residual = _explained(y, fit)
    power = np.full(len(y), 1 + fit.rho**2)
    power[[0, -1]] = 1
    return _gain(power, unwhiten(basis, fit.rho).T, unwhiten(residual, fit.rho))


def _explained(y: Float[ndarray, "point"], fit: Fit) -> tuple[Float[ndarray, "point term"], Float[ndarray, "point"]]:
    """An orthonormal basis of what the fit's terms can say, whitened, and what they leave."""
    basis, upper = np.linalg.qr(whiten(_design(fit.x, fit.centre, fit.width), fit.rho))
    basis = basis[:, np.abs(np.diag(upper)) > 1e-9]
    target = whiten(y, fit.rho)
    return basis, target - basis @ (basis.T @ target)


def _gain(
    power: Float[ndarray, "atom"], shared: Float[ndarray, "term atom"], overlap: Float[ndarray, "atom"]
) -> Float[ndarray, "atom"]:
    left = power - (shared**2).sum(0)
    return np.where(left > 1e-6 * power, overlap**2 / np.maximum(left, 1e-12), 0.0)


def _design(
    x: Float[ndarray, "point"], centre: Float[ndarray, "term"], width: Float[ndarray, "term"]
) -> Float[ndarray, "point term1"]:
    return np.column_stack([np.ones(len(x)), sigmoid(x, centre, width)])


def _best_atom(y: Float[ndarray, "point"], fit: Fit, atoms: Atoms, allowed: Bool[ndarray, "atom"] | None) -> int:
    gain = gains(y, fit, atoms)
    return int(np.argmax(gain if allowed is None else np.where(allowed, gain, -1.0)))
