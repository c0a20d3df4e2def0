"""Rolling statistics of curves: from a table to further rows of it, each value from the past only.

Near a transition a system recovers from disturbances ever more slowly (critical slowing down, Scheffer et al.
2009): its fluctuations become larger and more alike from one moment to the next. So, for each curve of a measure m,
over the last `window` checkpoints:

    m.mean           mean: the curve, smoothed. Of the target itself it is a trap: it rises when the target does, adds
                     nothing to it, and must not be called leading
    m.variance       variance of the residuals from a straight line in log step
    m.memory         lag-1 autocorrelation of these residuals
    m.slope          slope of that line, per decade of steps
    m.acceleration   second derivative of the parabola fitted instead, per squared decade. `gradient_norm.acceleration`
                     stands for the second derivative of the gradient norm in the *step*, proposed as an early sign
                     (clawrxiv 2604.00721): it is not the published one, as checkpoints are not equally spaced

and, for all the curves of m in one run together (its components and positions, a vector):

    m.dmd_residual   how badly a linear map of rank two carries one checkpoint's state on to the next one's
                     (`dmd_residual`)
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.errors import InputError, unknown
from interp.figures.axis import placed, zero_place
from interp.table.contract import CURVE, read_table

if TYPE_CHECKING:
    from jaxtyping import Float

OF_CURVES = ("mean", "variance", "memory", "slope", "acceleration")
OF_STATES = ("dmd_residual",)
STATISTICS = OF_CURVES + OF_STATES


def rolling(
    table: pd.DataFrame | str | Path, *, measures: Iterable[str] | None = None, window: int = 8
) -> pd.DataFrame:
    """The rolling statistics of the curves of some measures (None: all), as rows of the table's form.

    Args:
        table: in the contract's form; `component` and `position` may be absent.
        measures: `m` for all statistics of m, `m.slope` for one of them.
        window: how many checkpoints, the present one included, a value is computed from; at least 4.

    Returns:
        One row a checkpoint, curve and statistic: the curve's own columns, `measure` with the statistic's name
        appended, `kind` "indicator". A value at step t uses steps up to t only. NaN where the window is not
        full or holds a missing value, and the memory where the residuals are zero. The statistic of a state has the
        columns of its first curve, without component and position.

    Raises:
        InputError: a window that is too short, a measure that the table does not have, an unknown statistic, or a
            missing column.
    """
    if window < 4:
        raise InputError(f"window is {window}; a trend and its residuals need at least 4 checkpoints")
    table = read_table(table)
    wanted = _wanted(measures, set(table["measure"]))
    chosen = table[table["measure"].isin(wanted)]
    parts = []
    for keys, of, names in ((CURVE, _of_curve, OF_CURVES), (CURVE[:3], _of_state, OF_STATES)):
        for _, rows in chosen.groupby(keys, sort=True, dropna=False, observed=True):
            asked = [name for name in names if name in wanted[str(rows["measure"].iloc[0])]]
            parts += [of(rows, window, asked)] if asked else []
    return pd.concat(parts, ignore_index=True) if parts else chosen.iloc[:0].reset_index(drop=True)


def _wanted(measures: Iterable[str] | None, known: set[str]) -> dict[str, list[str]]:
    """The statistics that are asked for, by measure."""
    found: dict[str, list[str]] = {}
    for name in known if measures is None else measures:
        measure, _, statistic = (name, "", "") if name in known else name.rpartition(".")
        if measure not in known:
            raise unknown("measure", measure or name, known)
        if statistic and statistic not in STATISTICS:
            raise unknown(f"rolling statistic of {measure!r}", statistic, STATISTICS)
        found.setdefault(measure, []).extend([statistic] if statistic else STATISTICS)
    return found


def _of_curve(curve: pd.DataFrame, window: int, names: Iterable[str]) -> pd.DataFrame:
    """Some statistics of one curve."""
    curve = curve.sort_values("step", kind="stable")
    found = statistics(curve["step"].to_numpy(float), curve["value"].to_numpy(float), window)
    of = dict(zip(OF_CURVES, found, strict=True))
    return pd.concat([_named(curve, name, of[name]) for name in names])


def _of_state(rows: pd.DataFrame, window: int, names: Iterable[str]) -> pd.DataFrame:
    """Some statistics of all the curves that a measure has in one run."""
    state = rows.pivot(index="step", columns=["component", "position"], values="value").sort_index()
    first = rows.drop_duplicates("step").sort_values("step", kind="stable")
    found = dmd_residual(state.to_numpy(float), window)
    return pd.concat([_named(first, name, found).assign(component="", position="") for name in names])


def _named(curve: pd.DataFrame, statistic: str, values: Float[np.ndarray, "checkpoint"]) -> pd.DataFrame:
    """Rows of a statistic at the checkpoints of a curve."""
    name = curve["measure"].astype(str) + f".{statistic}"
    return curve.assign(measure=name, value=values, kind="indicator", stderr=np.nan, n=np.nan, unit="", key="")


def statistics(
    steps: Float[np.ndarray, "checkpoint"], values: Float[np.ndarray, "checkpoint"], window: int
) -> Float[np.ndarray, "statistic checkpoint"]:
    """The statistics of `OF_CURVES`, over the window that ends at each checkpoint; steps ≤ 0 stand half a first
    positive step."""
    found = np.full((len(OF_CURVES), len(values)), np.nan)
    if len(values) < window:
        return found
    x = np.log10(placed(steps, zero_place(steps)))
    xs, ys = (np.lib.stride_tricks.sliding_window_view(series, window) for series in (x, values))
    scale, mean = ys, ys.mean(axis=1)
    xs, ys = xs - xs.mean(axis=1, keepdims=True), ys - mean[:, None]
    slope = (xs * ys).sum(axis=1) / (xs**2).sum(axis=1)
    residuals = ys - slope[:, None] * xs
    power = (residuals**2).sum(axis=1)
    still = power <= 1e-20 * (scale**2).sum(axis=1)
    bend = xs**2 - (xs**2).mean(axis=1, keepdims=True)
    bend = bend - (bend * xs).sum(axis=1, keepdims=True) / (xs**2).sum(axis=1, keepdims=True) * xs
    with np.errstate(invalid="ignore", divide="ignore"):
        memory = (residuals[:, 1:] * residuals[:, :-1]).sum(axis=1) / np.where(still, np.nan, power)
    acceleration = 2 * (bend * residuals).sum(axis=1) / (bend**2).sum(axis=1)
    found[:, window - 1 :] = mean, power / (window - 2), memory, slope, acceleration
    return found


def dmd_residual(
    states: Float[np.ndarray, "checkpoint coordinate"], window: int, *, delays: int = 2, rank: int = 2
) -> Float[np.ndarray, "checkpoint"]:
    """Share of the next state's movement that a linear map does not give: ‖X′ − A X‖ / ‖X′‖ (Frobenius), over the window
    that ends at each checkpoint.

    The columns of X are the states at `delays` successive checkpoints, one below the other (Hankel), those of X′ the same
    one checkpoint on; both without their means, so that the map may have a constant. A is the least-squares map on the
    `rank` leading directions of X (dynamic mode decomposition, Schmid 2010): what is left of X′ is its part outside their
    course in time. 0 for a linear system of that rank, 1 where the present says nothing of the next. NaN where the window
    is not full, holds a missing value, or nothing moves.

    Not the published residual: arXiv 2605.08237 has windows of 250 recorded states (every second of 500 steps), equally
    spaced, and its rank, delays and centring could not be read; here a window is eight checkpoints, and checkpoints on a
    logarithmic grid are no equal steps.
    """
    found = np.full(len(states), np.nan)
    for end in range(window, len(states) + 1):
        stretch = states[end - window : end]
        if not np.isfinite(stretch).all():
            continue
        length = window - delays + 1
        hankel = np.concatenate([stretch[lag : lag + length] for lag in range(delays)], axis=1)
        now, after = (part - part.mean(axis=0) for part in (hankel[:-1], hankel[1:]))
        total = (after**2).sum()
        if total <= 1e-20 * (hankel**2).sum():
            continue
        course, strength, _ = np.linalg.svd(now, full_matrices=False)
        course = course[:, :rank][:, strength[:rank] > 1e-9 * strength[0]]
        left = after - course @ (course.T @ after)
        found[end - 1] = np.sqrt((left**2).sum() / total)
    return found
