"""Which run of a setting jumps first? Concordance of an indicator's value at half the median jump time with the jump times."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from interp.leads.features import FEATURES
from interp.leads.panel import Panel

LEVEL = FEATURES.index("level")


def orders(panel: Panel, directions: dict[str, int] | None = None, *, draws: int, seed: int) -> list[dict[str, Any]]:
    """By series: the share of comparable pairs of runs of one setting that its value at half the setting's median T puts in
    the right order (ties half), with its interval by bootstrap over the runs of each setting.

    directions: by series +1 where larger values say that the jump comes earlier, −1 where later; None: as fits these very
    runs, which flatters (`fitted` says so). A run that has jumped by then, or of a setting with fewer than two events, has
    no part; a censored run is later than any jump before its budget.
    """
    time, member, rows = _moment(panel)
    earlier = _comparable(panel, member)
    rng = np.random.default_rng([seed, 67])
    weights = _weights(member, draws, rng)
    out = []
    for index, series in enumerate(panel.series):
        if series.role == "clock" or series.component or series.position is not None:
            continue
        value = panel.values[index, rows, time, LEVEL].astype(float)
        known = np.isfinite(value)
        pairs = earlier & known[:, None] & known[None, :]
        if not pairs.any():
            continue
        won = (value[:, None] > value[None, :]) + 0.5 * (value[:, None] == value[None, :])
        sign = (directions or {}).get(series.measure, 0)
        fitted = sign == 0
        sign = sign or (1 if won[pairs].mean() >= 0.5 else -1)
        won = won if sign > 0 else 1 - won
        weight = weights[:, rows]
        told = np.einsum("bi,ij,bj->b", weight, won * pairs, weight)
        total = np.einsum("bi,ij,bj->b", weight, pairs.astype(float), weight)
        drawn = told[total > 0] / total[total > 0]
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
        out.append({"indicator": series.measure, "role": series.role, "concordance": float(won[pairs].mean()), "low": float(low),
                    "high": float(high), "pairs": int(pairs.sum()), "sign": sign, "fitted": fitted})  # fmt: skip
    return out


def _moment(panel: Panel) -> tuple[Int[np.ndarray, "row"], Int[np.ndarray, "run"], Int[np.ndarray, "row"]]:
    """Grid index of the last checkpoint at or before half the median T of a run's setting, the setting of every run that
    counts (−1 for the others), and which runs count."""
    at, member = np.zeros(len(panel.runs), int), np.full(len(panel.runs), -1)
    for code in range(len(panel.settings)):
        here = panel.setting == code
        T = panel.T[here & panel.event]
        place = np.searchsorted(panel.step, np.median(T) / 2, side="right") - 1 if len(T) >= 2 else -1
        if place >= 0:
            counts = here & (panel.step[place] < panel.T)
            at[counts], member[counts] = place, code
    rows = np.flatnonzero(member >= 0)
    return at[rows], member, rows


def _comparable(panel: Panel, member: np.ndarray) -> Bool[np.ndarray, "row row"]:
    """Whether the first of two runs of a setting is known to jump before the second."""
    rows = np.flatnonzero(member >= 0)
    T, end = panel.T[rows], np.where(panel.event, panel.T, panel.budget)[rows]
    same = member[rows][:, None] == member[rows][None, :]
    first = panel.event[rows][:, None] & (T[:, None] < end[None, :])
    return same & first


def _weights(member: np.ndarray, draws: int, rng: np.random.Generator) -> Float[np.ndarray, "draw run"]:
    """How often each run is drawn when the runs of every setting are drawn again."""
    out = np.zeros((draws, len(member)))
    for code in np.unique(member[member >= 0]):
        here = np.flatnonzero(member == code)
        out[:, here] = rng.multinomial(len(here), np.full(len(here), 1 / len(here)), size=draws)
    return out


def together(by_family: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Concordance of each series over all families, weighted by pairs; interval from those of the families."""
    found: dict[str, list[dict[str, Any]]] = {}
    for rows in by_family.values():
        for row in rows:
            found.setdefault(row["indicator"], []).append(row)
    out = []
    for name, rows in sorted(found.items()):
        pairs = np.array([row["pairs"] for row in rows], float)
        share = pairs / pairs.sum()
        mean = float(share @ [row["concordance"] for row in rows])
        half = np.array([(row["high"] - row["low"]) / 2 for row in rows])
        width = float(np.sqrt((share**2) @ half**2))
        out.append({"indicator": name, "role": rows[0]["role"], "concordance": mean, "low": max(mean - width, 0.0),
                    "high": min(mean + width, 1.0), "pairs": int(pairs.sum()), "n_families": len(rows),
                    "fitted": any(row["fitted"] for row in rows)})  # fmt: skip
    return sorted(out, key=lambda row: (-row["concordance"], row["indicator"]))
