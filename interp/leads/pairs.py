"""Pairs of runs with and without an intervention: how far the event moved, in decades of steps, censored pairs kept as bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import binomtest

UNIT = ["family", "size", "seed"]
LEAST_PAIRS = 4
"""For an interval. A choice: of three pairs a bootstrap has ten different draws."""


def contrast(under: pd.DataFrame, without: pd.DataFrame) -> pd.DataFrame:
    """A row a pair: log10 T with − log10 T without lies in `low` to `high`.

    under, without: a row a run with UNIT, T (infinite where censored), C and grain (log10 of the spacing of checkpoints at T).
    A run that is censored has T ≥ C: the pair is a bound on one side, and on none where both are.
    at_budget: the shift with C in place of a T that is censored. grain: of both runs together, as a standard deviation.
    """
    both = under.merge(without, on=UNIT, suffixes=("", "_without"))
    T, T0, C, C0 = (np.log10(both[name].to_numpy(float)) for name in ("T", "T_without", "C", "C_without"))
    with np.errstate(invalid="ignore"):
        low = np.where(np.isfinite(T0), np.where(np.isfinite(T), T, C) - T0, -np.inf)
        high = np.where(np.isfinite(T), T - np.where(np.isfinite(T0), T0, C0), np.inf)
    at_budget = np.where(np.isfinite(T), T, C) - np.where(np.isfinite(T0), T0, C0)
    grain = np.sqrt(
        (both["grain"] ** 2 + both["grain_without"] ** 2) / 12
    )  # a uniform's standard deviation is width / √12
    return both[[*UNIT, "T", "T_without"]].assign(low=low, high=high, at_budget=at_budget, grain=grain)


def estimate(pairs: pd.DataFrame, *, level: float, draws: int, rng: np.random.Generator) -> dict[str, Any]:
    """What the pairs say of the shift, NaN where they say nothing.

    effect, low, high: mean over the n pairs in which both runs have an event, with its interval (`interval`). median_low,
    median_high: between these lies the median of all pairs, wherever censored events are. at_budget: the mean of all pairs with
    C for a T that is censored: a lower bound where only runs under the intervention are, an upper one where only those without.
    n_pairs, n, n_stopped (an event without, none under it), n_started (the other way), n_neither. earlier, later, p: pairs whose
    sign is known, bounds included, and the exact sign test.
    """
    low, high = pairs["low"].to_numpy(), pairs["high"].to_numpy()
    known = np.isfinite(low) & np.isfinite(high)
    shift, grain = low[known], pairs["grain"].to_numpy()[known]
    ends = interval(shift, grain, level=level, draws=draws, rng=rng)
    earlier, later = int((high < 0).sum()), int((low > 0).sum())
    return {
        "effect": float(shift.mean()) if len(shift) else np.nan,
        "low": ends[0],
        "high": ends[1],
        "median_low": float(np.median(low)) if len(low) else np.nan,
        "median_high": float(np.median(high)) if len(high) else np.nan,
        "at_budget": float(pairs["at_budget"].mean()) if len(pairs) else np.nan,
        "n_pairs": len(pairs),
        "n": int(known.sum()),
        "n_stopped": int((np.isfinite(low) & ~np.isfinite(high)).sum()),
        "n_started": int((~np.isfinite(low) & np.isfinite(high)).sum()),
        "n_neither": int((~np.isfinite(low) & ~np.isfinite(high)).sum()),
        "earlier": earlier,
        "later": later,
        "p": float(binomtest(later, earlier + later).pvalue) if earlier + later else np.nan,
    }


def interval(
    shift: Float[np.ndarray, "pair"],
    grain: Float[np.ndarray, "pair"],
    *,
    level: float,
    draws: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Of the mean, by a studentised bootstrap over pairs (Efron & Tibshirani 1993, §12.5), whose coverage holds for eight pairs
    where that of percentiles does not. Each draw also moves every event within the spacing of its checkpoints, so that pairs that
    agree to a checkpoint are not taken to agree exactly."""
    n = len(shift)
    if n < LEAST_PAIRS:
        return np.nan, np.nan
    chosen = rng.integers(n, size=(draws, n))
    width = grain * np.sqrt(12) / 2  # a uniform of this half-width has the standard deviation `grain`
    drawn = shift[chosen] + width[chosen] * rng.uniform(-1, 1, size=(draws, n))
    error = drawn.std(axis=1, ddof=1) / np.sqrt(n)
    t = (drawn.mean(axis=1)[error > 0] - shift.mean()) / error[error > 0]
    if not len(t):
        return float(shift.mean()), float(shift.mean())
    own = np.sqrt((shift.var(ddof=1) + np.mean(grain**2)) / n)
    below, above = np.quantile(t, [(1 - level) / 2, (1 + level) / 2])
    return float(shift.mean() - above * own), float(shift.mean() - below * own)


def side(row: dict[str, Any], *, level: float) -> int:
    """−1 where the event is earlier, +1 where it is later, 0 where it cannot be told: by the interval where no event is censored
    in one run of a pair alone, else by the sign test."""
    if row["n_stopped"] + row["n_started"]:
        return int(np.sign(row["later"] - row["earlier"])) if row["p"] <= 1 - level else 0
    return int(row["low"] > 0) - int(row["high"] < 0)


def slope_of(pairs: pd.DataFrame) -> pd.DataFrame:
    """A row a pair with at least two doses: least-squares slope of the shift over the dose, pairs with both events only."""
    rows = []
    finite = pairs[np.isfinite(pairs["low"]) & np.isfinite(pairs["high"])]
    for _, own in finite.groupby(UNIT, observed=True):
        dose = own["dose"].to_numpy(float)
        about = dose - dose.mean()
        if (spread := float((about**2).sum())) > 0:
            grain = np.sqrt(float((about**2 * own["grain"].to_numpy() ** 2).sum())) / spread
            rows.append({"low": float(about @ own["low"].to_numpy()) / spread, "grain": grain})
    return pd.DataFrame(rows, columns=["low", "grain"])
