"""Rolling statistics of curves: from a table to further rows of it, each value from the past only.

Near a transition a system recovers from disturbances ever more slowly (critical slowing down, Scheffer et al.
2009): its fluctuations become larger and more alike from one moment to the next. So, for each curve of a measure m:

    m.variance   variance of the residuals from a straight line in log step, over the last `window` checkpoints
    m.memory     lag-1 autocorrelation of these residuals
    m.slope      slope of that line, per decade of steps
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.errors import InputError, unknown
from interp.table.contract import CURVE, read_table

if TYPE_CHECKING:
    from jaxtyping import Float

STATISTICS = ("variance", "memory", "slope")


def rolling(
    table: pd.DataFrame | str | Path, *, measures: Iterable[str] | None = None, window: int = 8
) -> pd.DataFrame:
    """The rolling statistics of the curves of some measures (None: all), as rows of the table's form.

    Args:
        table: in the contract's form; `component` and `position` may be absent.
        window: how many checkpoints, the present one included, a value is computed from; at least 4.

    Returns:
        One row a checkpoint, curve and statistic: the curve's own columns, `measure` with the statistic's name
        appended, `kind` "indicator". A value at step t uses steps up to t only. NaN where the window is not
        full or holds a missing value, and the memory where the residuals are zero.

    Raises:
        InputError: a window that is too short, a measure that the table does not have, or a missing column.
    """
    if window < 4:
        raise InputError(f"window is {window}; a trend and its residuals need at least 4 checkpoints")
    table = read_table(table)
    known = set(table["measure"])
    wanted = known if measures is None else set(measures)
    for measure in sorted(wanted - known):
        raise unknown("measure", measure, known)
    chosen = table[table["measure"].isin(wanted)]
    curves = (curve.sort_values("step", kind="stable") for _, curve in chosen.groupby(CURVE, sort=True, dropna=False))
    parts = [_of_curve(curve, window) for curve in curves]
    return pd.concat(parts, ignore_index=True) if parts else chosen.reset_index(drop=True)


def _of_curve(curve: pd.DataFrame, window: int) -> pd.DataFrame:
    """The three statistics of one curve, sorted by step."""
    found = statistics(curve["step"].to_numpy(float), curve["value"].to_numpy(float), window)
    return pd.concat(
        [
            curve.assign(
                measure=curve["measure"] + f".{name}",
                value=values,
                kind="indicator",
                stderr=np.nan,
                n=np.nan,
                unit="",
                key="",
            )
            for name, values in zip(STATISTICS, found, strict=True)
        ]
    )


def statistics(
    steps: Float[np.ndarray, "checkpoint"], values: Float[np.ndarray, "checkpoint"], window: int
) -> Float[np.ndarray, "statistic checkpoint"]:
    """Variance, memory and slope over the window that ends at each checkpoint; steps ≤ 0 stand half a first
    positive step."""
    found = np.full((3, len(values)), np.nan)
    if len(values) < window:
        return found
    x = np.log10(np.where(steps > 0, steps, _before_first(steps)))
    xs, ys = (np.lib.stride_tricks.sliding_window_view(series, window) for series in (x, values))
    scale = ys
    xs, ys = xs - xs.mean(axis=1, keepdims=True), ys - ys.mean(axis=1, keepdims=True)
    slope = (xs * ys).sum(axis=1) / (xs**2).sum(axis=1)
    residuals = ys - slope[:, None] * xs
    power = (residuals**2).sum(axis=1)
    still = power <= 1e-20 * (scale**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        memory = (residuals[:, 1:] * residuals[:, :-1]).sum(axis=1) / np.where(still, np.nan, power)
    found[:, window - 1 :] = power / (window - 2), memory, slope
    return found


def _before_first(steps: Float[np.ndarray, "checkpoint"]) -> float:
    positive = steps[steps > 0]
    return positive.min() / 2 if len(positive) else 1.0
