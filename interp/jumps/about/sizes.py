"""From curves over steps to curves over size: the value at one step against the number of parameters."""

from __future__ import annotations

import numpy as np
import pandas as pd

from interp.errors import InputError

_KEEP = ["task", "measure", "component", "position"]


def size_table(table: pd.DataFrame, step: int | None = None) -> pd.DataFrame:
    """A table whose `step` is `n_params`: one run for all sizes of a family that share a setting apart from the size.

    step: the step at which sizes are compared; by default the last one that all sizes of the curve share, else
    each run's last. Runs of one size (seeds) are averaged; `stderr` then holds the error of the mean, spread
    between runs included.

    Raises:
        InputError: no `n_params`, or nothing at that step.
    """
    rows = table[np.isfinite(table["n_params"]) & np.isfinite(table["value"])]
    if rows.empty:
        raise InputError("curves over size need the column 'n_params'")
    if step is not None and not (rows["step"] == step).any():
        known = rows["step"].unique()
        close = known[np.abs(known - step).argmin()]
        raise InputError(f"no row at step {step}; the nearest step is {close}")
    names = [_name(*row) for row in zip(rows["family"], rows["setting"], rows["size"], strict=True)]
    rows = rows.assign(run=names)
    made = [_points(part, step) for _, part in rows.groupby(["run", *_KEEP], sort=True)]
    sized = pd.concat(made, ignore_index=True)
    sized.attrs = table.attrs
    return sized


def _name(family: str, setting: str, size: str) -> str:
    rest = setting.replace(size, "*") if size else setting
    return rest if not family or family in rest else f"{family}/{rest}" if rest else family


def _points(rows: pd.DataFrame, step: int | None) -> pd.DataFrame:
    if step is not None:
        chosen = rows[rows["step"] == step]
    else:
        shared = set.intersection(*(set(part["step"]) for _, part in rows.groupby("n_params")))
        last = rows["step"].groupby([rows["setting"], rows["seed"], rows["n_params"]]).transform("max")
        chosen = rows[rows["step"] == (max(shared) if shared else last)]
    points = []
    for n_params, part in chosen.groupby("n_params", sort=True):
        values, errors = part["value"].to_numpy(), part["stderr"].to_numpy()
        spread = np.var(values, ddof=1) / len(values) if len(values) > 1 else 0.0
        known = np.nanmean(errors**2) / len(values) if np.isfinite(errors).any() else np.nan
        counts = part["n"].sum() if part["n"].notna().all() else np.nan
        stderr = np.nan if len(values) == 1 and np.isnan(known) else np.sqrt(np.nan_to_num(known) + spread)
        first = part.iloc[[0]]
        points.append(
            first.assign(step=float(str(n_params)), value=values.mean(), stderr=stderr, n=counts, size="", seed=0)
        )
    return pd.concat(points) if points else rows.iloc[:0]
