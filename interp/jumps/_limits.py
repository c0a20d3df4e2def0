"""The settings of the detector."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """min_magnitude: smallest change that counts, as a share of the measure's range.
    max_width: widest 10-90 % rise that is abrupt, in decades of steps.
    max_checkpoints: a rise over at most so many intervals of the grid is abrupt too (the grid cannot resolve it).
    level: significance level against serially dependent noise, a curve.
    sharpness: evidence (n ln SSE ratio, deflated for serial dependence) by which a narrow rise must beat a wide one.
    confirm: whether a change needs two checkpoints on either side (one could be a spike).
    dependent: whether neighbouring errors may be alike, as those of one run's checkpoints are and those of models of
        different sizes are not.
    """

    min_magnitude: float = 0.1
    max_width: float = 0.5
    max_checkpoints: int = 2
    level: float = 0.05
    sharpness: float = 0.0
    confirm: bool = True
    dependent: bool = True
