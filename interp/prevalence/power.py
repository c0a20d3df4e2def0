"""What the grid could have seen: changes of known kind planted on the curves' own grids and noise, and judged."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.jumps import find_jumps
from interp.prevalence.curves import FOUND, curve_rows
from interp.table.events import tick

TRUE = ("abrupt", "gradual", "artefact", "none")
WIDTHS = {"abrupt": (0.05, 0.35), "gradual": (0.7, 1.4)}
"""10-90 % widths in decades of what is planted where fewer than five of the kind were found (a choice, on either side of
the half decade that divides them)."""
LEAST_KNOWN = 5


def confusion(
    table: pd.DataFrame, curves: pd.DataFrame, measure: str, *, n: int, min_magnitude: float, rng: np.random.Generator
) -> Float[np.ndarray, "true found"]:
    """How many of `n` planted changes of each true kind were found as each of FOUND.

    A plant has the grid, the standard errors and the noise of a curve of the measure (the curve itself, less its mean,
    where it was found to be flat, else white noise of its second differences); place, size and width are those of a
    change that was found there, or, where they are few, anywhere that the grid can see whole, a fifth to four fifths of
    the range, WIDTHS. An artefact is found where an abrupt change would be: it takes a companion to call it one.
    """
    own = curves[curves["measure"] == measure]
    keys = own[["run", "task"]].apply(tuple, axis=1)
    rows = table[(table["measure"] == measure) & table["value"].notna()]
    rows = rows[(rows["component"] == "") & (rows["position"] == "")].sort_values("step", kind="stable")
    by_curve = dict(iter(rows.groupby(["run", "task"], observed=True)))
    span = float(own["span"].median()) if own["span"].notna().any() else float(np.ptp(rows["value"]))
    made = []
    for kind in ("abrupt", "gradual", "none"):
        for k, place in enumerate(rng.choice(len(own), n)):
            base = by_curve[keys.iloc[place]]
            value = _planted(base, own.iloc[place], own, kind, span, rng)
            about = {"run": f"{kind} {k}", "task": kind, "measure": measure, "step": base["step"].to_numpy()}
            columns = {name: base[name].to_numpy(float) for name in ("stderr", "n")}
            made.append(pd.DataFrame({**about, "value": value, "kind": "behaviour", **columns}))
    plants = pd.concat(made, ignore_index=True)
    jumps = find_jumps(plants, min_magnitude=min_magnitude, ranges={measure: span}, models=False)
    plants.attrs["given"] = ["run", "step", "task", "measure", "value"]
    plants = plants.assign(component="", position="", family="", seed=0, setting="", size="", budget=np.nan)
    direction = "up" if own["sign"].iloc[0] > 0 else "down"
    told = curve_rows(plants, jumps, direction=direction, min_magnitude=min_magnitude)
    crossed = pd.crosstab(told["task"], told["found"]).reindex(index=TRUE, columns=FOUND, fill_value=0)
    count = crossed.to_numpy(float, copy=True)
    whole = count[0, :3].sum()
    count[2] = [0, 0, whole, *count[0, 3:]]
    return count


def _planted(
    base: pd.DataFrame, row: pd.Series, own: pd.DataFrame, kind: str, span: float, rng: np.random.Generator
) -> np.ndarray:
    x = np.log10(tick(base["step"].to_numpy(float)))
    y = base["value"].to_numpy(float)
    logs = bool(0 < span < np.inf and y.min() > 0 and np.ptp(y) > 1.5 * span)  # a perplexity, judged as its logarithm
    y = np.log(y) if logs else y
    noise = y - y.mean() if row["found"] == "none" and kind != "none" else _white(y, rng)
    start = float(np.median(y[: max(1, len(y) // 10)]))
    if kind == "none":
        value = start + noise
    else:
        known = own[own["magnitude"].notna()]
        same = own[own["found"] == kind]["width"]
        many = len(known) >= LEAST_KNOWN
        size = float(rng.choice(known["magnitude"])) if many else span * rng.uniform(0.2, 0.8)
        width = float(rng.choice(same)) if len(same) >= LEAST_KNOWN else rng.uniform(*WIDTHS[kind])
        inner = (
            x[min(2, len(x) - 1)] + width / 2,
            max(x[-min(3, len(x))] - width / 2, x[min(2, len(x) - 1)] + width / 2),
        )
        middle = float(rng.choice(known["midpoint"])) + 0.1 * rng.standard_normal() if many else rng.uniform(*inner)
        rise = 1 / (1 + np.exp(-np.clip((x - middle) * 2 * np.log(9) / max(width, 1e-3), -60, 60)))
        value = start + row["sign"] * size * rise + noise
        if not logs and span in (1.0, 100.0):
            value = (
                np.clip(value + max(0.0, size - span + start), 0, span) if row["sign"] > 0 else np.clip(value, 0, span)
            )
    return np.exp(value) if logs else value


def _white(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White noise as large as the curve's departures from the mean of their neighbours."""
    if len(y) < 4:
        return np.zeros(len(y))
    rough = y[1:-1] - (y[:-2] + y[2:]) / 2
    return 1.4826 * np.median(np.abs(rough)) / np.sqrt(1.5) * rng.standard_normal(len(y))
