"""What the step, the setting and the trivial measures say by themselves: the flexible baseline every indicator must
beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from interp.leads.features import FEATURES
from interp.leads.logistic import fit, log_loss
from interp.leads.panel import Panel

USED = tuple(FEATURES.index(name) for name in ("level", "mean", "change", "deviation", "spread"))
_STRENGTHS = (3.0, 0.3, 0.03)  # strong first: each fit starts from the one before


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """At-risk rows: run and grid index of each, sorted by run, and the label "T in (t, h·t]"."""

    run: Int[np.ndarray, "row"]
    grid: Int[np.ndarray, "row"]
    label: Float[np.ndarray, "row"]


def at_risk(panel: Panel, horizon: float, *, grid: Bool[np.ndarray, "run grid"] | None = None) -> Rows:
    """The checkpoints before the event whose label is known.

    A row whose window (t, h·t] reaches past the budget is dropped whatever happened in it: keeping only the runs that
    jumped there would give the label away. Of checkpoints closer than a quarter of the horizon, by a grid in log step,
    the first is kept: what they say is the same but for noise, which the features average already.
    """
    t = panel.step[None, :]
    keep = panel.seen if grid is None else grid
    keep = keep & (t < panel.T[:, None]) & (horizon * t <= panel.budget[:, None])
    run, at = np.nonzero(keep & _thinned(panel, horizon))
    return Rows(run=run, grid=at, label=(panel.T[run] <= horizon * panel.step[at]).astype(float))


PER_HORIZON = 4
"""Rows a factor h of steps. A choice: at 10 a run of 100 checkpoints costs 2.5 times as much and says as little more."""


def _thinned(panel: Panel, horizon: float) -> Bool[np.ndarray, "run grid"]:
    cell = np.floor(np.log(panel.step / panel.step[0]) / np.log(horizon) * PER_HORIZON + 1e-9).astype(int)
    out = np.zeros_like(panel.seen)
    for code in np.unique(cell):
        here = np.flatnonzero(cell == code)
        first = here[panel.seen[:, here].argmax(axis=1)]
        out[np.arange(len(out)), first] = panel.seen[np.arange(len(out)), first]
    return out


def standardised(panel: Panel, series: Sequence[int]) -> Float[np.ndarray, "series run grid feature"]:
    """The features USED of some series: each less its median, over its inter-quartile range / 1.35, squeezed into ±4.

    Absent is 0. The scale is one for all runs, and comes from the checkpoints before the event or the end of the
    budget: what happens after the jump has no part in anything.
    """
    values = panel.values[np.asarray(series, int)][..., USED]
    before = panel.seen & (panel.step < np.minimum(panel.T, np.nextafter(panel.budget, np.inf))[:, None])
    out = np.zeros_like(values)
    for index, block in enumerate(values):
        for column in range(block.shape[-1]):
            x, told = block[..., column], block[before, column]
            told = told[np.isfinite(told)]
            if not len(told):
                continue
            low, middle, high = np.percentile(told, [25, 50, 75])
            scale = max((high - low) / 1.35, 0.25 * float(np.std(told)))
            if scale > 1e-9 * (1 + abs(middle)):
                out[index, ..., column] = np.where(np.isfinite(x), 4 * np.tanh((x - middle) / (4 * scale)), 0)
    return out


def design(
    panel: Panel, rows: Rows, trivial: Float[np.ndarray, "series run grid feature"]
) -> Float[np.ndarray, "row column"]:
    """Columns of the baseline: 1; a piecewise linear curve of log step, for all runs and again for each setting; each
    setting; and, with trivial measures, the causal features of each and how far the target's own rise has got.
    Column 0 is the intercept."""
    u = np.log(panel.step[rows.grid])
    curve = _curve(u)
    parts = [np.ones((len(u), 1)), curve]
    if len(panel.settings) > 1:
        member = np.eye(len(panel.settings))[panel.setting[rows.run]]
        parts += [member, (member[:, :, None] * curve[:, None, :]).reshape(len(u), -1)]
    if len(trivial):
        parts.append(trivial[:, rows.run, rows.grid].transpose(1, 0, 2).reshape(len(u), -1).astype(float))
        rising = panel.rising[rows.run, rows.grid]
        parts.append(np.column_stack([rising, rising**2, rising > 0]))
    whole = np.concatenate(parts, axis=1)
    return whole[:, np.r_[True, whole[:, 1:].std(axis=0) > 1e-9]]


def _curve(u: np.ndarray, n_knots: int = 4) -> np.ndarray:
    """log step and its hinges at inner quantiles, centred and scaled."""
    knots = np.unique(np.quantile(u, np.linspace(0, 1, n_knots + 2)[1:-1]))
    columns = np.stack([u, *(np.maximum(u - knot, 0) for knot in knots)], axis=1)
    columns = columns - columns.mean(axis=0)
    return columns / np.maximum(columns.std(axis=0), 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """The baseline fitted without one fold: its logits on all rows, and its penalty."""

    held: int
    logit: Float[np.ndarray, "row"]
    penalty: Float[np.ndarray, "column"]


def fit_baseline(columns: Float[np.ndarray, "row column"], rows: Rows, fold: Int[np.ndarray, "row"]) -> list[Fitted]:
    """The baseline without each fold in turn.

    The strength of the ridge, in runs' worth of rows, is the one whose held-out log-loss is least. It is chosen on
    the very folds that score the baseline, which flatters the baseline a little: the safe side for what must beat it.
    """
    found: dict[float, list[Fitted]] = {strength: [] for strength in _STRENGTHS}
    loss = dict.fromkeys(_STRENGTHS, 0.0)
    for held in np.unique(fold):
        train, weight = fold != held, None
        x, y = columns[train], rows.label[train]
        per_run = len(y) / len(np.unique(rows.run[train]))
        for strength in _STRENGTHS:
            penalty = np.r_[1e-6, np.full(columns.shape[1] - 1, strength * per_run)]
            weight = fit(x, y, penalty, weight)
            logit = columns @ weight
            found[strength].append(Fitted(held=int(held), logit=logit, penalty=penalty))
            loss[strength] += log_loss(logit[~train], rows.label[~train]).sum()
    return found[min(_STRENGTHS, key=lambda strength: loss[strength])]
