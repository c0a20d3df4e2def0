"""The 95 % band of a rise's midpoint: errors whitened for serial dependence, and as large as is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from scipy.special import stdtrit

from interp.jumps._atoms import make_atoms, sigmoid, whiten
from interp.jumps._curve import Curve
from interp.jumps._fit import Fit, gains, without

BAND_CENTRES = 81
LEAST_NEAR = 5


def midpoint_band(curve: Curve, fit: Fit, terms: Int[ndarray, "term"], floor: float) -> tuple[float, float]:
    """How far below and above its centre the largest of the terms may lie.

    The wider of two: the centres whose best width and rise leave a sum of squares within the t quantile (a step between
    two checkpoints may be anywhere between them), and the standard error of the linearised fit.
    """
    main = int(terms[np.abs(fit.rise[terms]).argmax()])
    middle, width = float(fit.centre[main]), float(fit.width[main])
    gap = float(np.diff(curve.x)[int(np.clip(np.searchsorted(curve.x, middle) - 1, 0, len(curve) - 2))])
    reach = max(gap, width)
    centres = middle + 3 * reach * np.linspace(-1, 1, BAND_CENTRES)
    widths = np.append(width * np.geomspace(0.25, 4, 13), [1e-3 * gap, gap])
    centre, width_of = (axis.ravel() for axis in np.meshgrid(centres, widths))
    rest = without(curve.y, fit, main)
    squares = rest.squares - gains(curve.y, rest, make_atoms(curve.x, centre, width_of, fit.rho))
    squares = np.maximum(squares, floor)
    freedom = max(len(curve) - 1 - 3 * len(fit.centre), 1)
    quantile = float(stdtrit(freedom, 0.975)) * _local_error(curve, fit, middle, reach)
    likely = centre[squares <= squares.min() * (1 + quantile**2 / freedom)]
    error = quantile * np.sqrt(max(fit.squares, floor) / freedom) * _sensitivity(fit, main)
    error = min(error, reach)
    return max(middle - float(likely.min()), error), max(float(likely.max()) - middle, error)


def _local_error(curve: Curve, fit: Fit, middle: float, reach: float) -> float:
    """Errors around the rise relative to those of the whole curve, by what is known of them and by the residuals, at
    least 1: half-way up a score is at its noisiest, and there the sigmoid may be the wrong shape."""
    distance = np.abs(curve.x - middle)
    near = distance <= max(reach, float(np.partition(distance, min(LEAST_NEAR, len(curve)) - 1)[LEAST_NEAR - 1]))
    ratios = [1.0]
    for error in (curve.sigma, curve.y - fit.at()):
        typical = float((error**2).mean())
        ratios.append(float(np.sqrt((error[near] ** 2).mean() / typical)) if typical > 0 else 1.0)
    return max(ratios)


def _sensitivity(fit: Fit, term: int) -> float:
    """Standard error of a term's centre for errors of unit variance, the other parameters free."""
    shift = 1e-3 * max(float(fit.width[term]), 1e-6)
    columns = [np.ones(len(fit.x)), *sigmoid(fit.x, fit.centre, fit.width).T]
    for name in ("width", "centre"):
        moved = []
        for sign in (-1, 1):
            values = getattr(fit, name).copy()
            values[term] += sign * shift
            moved.append(replace(fit, **{name: values}).at())
        columns.append((moved[1] - moved[0]) / (2 * shift))
    design = whiten(np.column_stack(columns), fit.rho)
    left = design[:, -1] - design[:, :-1] @ np.linalg.lstsq(design[:, :-1], design[:, -1], rcond=1e-9)[0]
    return float(1 / max(float(np.linalg.norm(left)), 1e-9))
