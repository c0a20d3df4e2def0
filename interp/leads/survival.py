"""Discrete-time hazard of the jump given one indicator, and how well it orders the runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from interp.leads.horizon import cross_fitted, landmark_rows
from interp.leads.panel import Panel
from interp.leads.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """Concordance with the hazard score (0.5 is chance): Harrell's, Uno's, and Harrell's among runs of one setting."""

    harrell: float
    uno: float
    within: float


def bins(panel: Panel, spec: Spec) -> Float[np.ndarray, "edge"]:
    """Edges of the time bins: the budget divided by powers of √h, down to the first checkpoint; one bin where that is
    step 0, the only one."""
    end, ratio = panel.budget.max(), np.sqrt(spec.horizon)
    first = panel.step[0] if panel.step[0] > 0 else end
    count = int(np.floor(np.log(end / first) / np.log(ratio) + 1e-9)) if end > 0 else 1
    return end / ratio ** np.arange(max(count, 1), -1, -1)


def survival_scores(
    panel: Panel, values: Float[np.ndarray, "series run grid feature"], fold_of: Int[np.ndarray, "run"], spec: Spec
) -> list[Survival]:
    """Every series (standardised features): a cross-fitted logistic model of "the event falls in this bin", given
    at-risk, on one intercept a bin and the features as they stood at the bin's start."""
    edges = bins(panel, spec)
    rows, which = landmark_rows(panel, edges[:-1], edges[1:])
    nothing = Survival(harrell=np.nan, uno=np.nan, within=np.nan)
    if not len(rows.label) or rows.label.min() == rows.label.max():
        return [nothing] * len(values)
    common = np.eye(len(edges) - 1)[which]
    pairs = comparable(panel, rows.run, which, rows.label)
    weight = 1 / np.maximum(censoring_survival(panel, panel.T[rows.run[pairs[0]]]), 1e-3) ** 2
    same = panel.setting[rows.run[pairs[0]]] == panel.setting[rows.run[pairs[1]]]
    out = []
    for block in values:
        _, score = cross_fitted(common, block[rows.run, rows.grid], rows, fold_of)
        won = (score[pairs[0]] > score[pairs[1]]) + 0.5 * (score[pairs[0]] == score[pairs[1]])
        out.append(Survival(harrell=_mean(won), uno=_mean(won, weight), within=_mean(won[same])))
    return out


def comparable(
    panel: Panel, run: Int[np.ndarray, "row"], which: Int[np.ndarray, "row"], label: Float[np.ndarray, "row"]
) -> tuple[Int[np.ndarray, "pair"], Int[np.ndarray, "pair"]]:
    """Pairs of rows of one bin: the first run jumps in the bin, the second is at risk there and is known to jump
    later."""
    first, second = [], []
    for code in np.unique(which):
        here = np.flatnonzero(which == code)
        for i in here[label[here] == 1]:
            later = here[panel.T[run[here]] > panel.T[run[i]]]
            first.append(np.full(len(later), i))
            second.append(later)
    return np.concatenate(first or [np.empty(0, int)]), np.concatenate(second or [np.empty(0, int)])


def censoring_survival(panel: Panel, time: Float[np.ndarray, "x"]) -> Float[np.ndarray, "x"]:
    """Kaplan-Meier estimate of P(censored at or after `time`), events being the censored ones here (Uno et al.
    2011)."""
    end = np.where(panel.event, panel.T, panel.budget)
    moments = np.unique(end[~panel.event])
    at_risk = (end[None, :] >= moments[:, None]).sum(axis=1)
    lost = ((end[None, :] == moments[:, None]) & ~panel.event).sum(axis=1)
    steps = np.r_[1.0, np.cumprod(1 - lost / np.maximum(at_risk, 1))]
    return steps[np.searchsorted(moments, time, side="left")]


def _mean(x: Float[np.ndarray, "pair"], weight: Float[np.ndarray, "pair"] | None = None) -> float:
    if not len(x):
        return np.nan
    return float(np.average(x, weights=weight))
