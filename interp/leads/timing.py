"""When will it jump? The step of the event forecast from the first share of the budget, with an interval that is
calibrated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from interp.leads.panel import Panel
from interp.leads.spec import Spec

LEAST_RUNS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """mdape: median of |forecast/T − 1|, `mdape_setting` the same from the setting alone; interval_coverage: share of
    intervals of nominal coverage `level` that hold T; n: runs that jump after `share` of the budget. NaN where
    `reason` says why."""

    share: float
    n: int
    mdape: float = np.nan
    mdape_setting: float = np.nan
    interval_coverage: float = np.nan
    level: float = np.nan
    reason: str = ""


def timing_scores(
    panel: Panel, values: Float[np.ndarray, "series run grid feature"], fold_of: Int[np.ndarray, "run"], spec: Spec
) -> list[list[Timing]]:
    """For every series (standardised features) and every share of the budget: the setting and the series' features at
    that step → log T, cross-fitted over runs. The forecast is of when, given that it jumps within the budget."""
    return list(
        map(list, zip(*(_at_share(panel, values, fold_of, share, spec) for share in spec.budget_shares), strict=True))
    )


def _at_share(panel: Panel, values: np.ndarray, fold_of: np.ndarray, share: float, spec: Spec) -> list[Timing]:
    start = share * panel.planned
    runs = np.flatnonzero(panel.event & (start < panel.T))
    n = len(runs)
    at = np.searchsorted(panel.step, start[runs] * (1 + 1e-9), side="right") - 1
    if n < LEAST_RUNS or (at < 0).any():
        reason = f"{n} runs jump after {share:.0%} of the budget; {LEAST_RUNS} are needed"
        return [Timing(share=share, n=n, reason=reason)] * len(values)
    goal, fold = np.log(panel.T[runs]), fold_of[runs]
    member = np.eye(len(panel.settings))[panel.setting[runs]]
    alone = held_out(member, goal, fold)
    out = []
    for block in values:
        guess = held_out(np.concatenate([member, block[runs, at]], axis=1), goal, fold)
        out.append(
            Timing(
                share=share,
                n=n,
                mdape=_mdape(guess, goal),
                mdape_setting=_mdape(alone, goal),
                interval_coverage=_coverage(goal - guess, fold, spec.forecast_level),
                level=spec.forecast_level,
            )
        )
    return out


def held_out(
    columns: Float[np.ndarray, "run column"], goal: Float[np.ndarray, "run"], fold: Int[np.ndarray, "run"]
) -> Float[np.ndarray, "run"]:
    """Forecast of each run by a ridge regression on the runs of the other folds."""
    guess = np.empty(len(goal))
    for held in np.unique(fold):
        train = fold != held
        guess[~train] = predict(columns[train], goal[train], columns[~train]) if train.any() else np.nan
    return guess


def predict(
    columns: Float[np.ndarray, "run column"], goal: Float[np.ndarray, "run"], new: Float[np.ndarray, "new column"]
) -> Float[np.ndarray, "new"]:
    """Ridge regression with a free intercept; its strength minimises the leave-one-out error in closed form (e/(1 −
    h))."""
    middle, weight, _ = _ridge(columns, goal)
    return middle + (new - columns.mean(axis=0)) @ weight


def leave_one_out_error(columns: Float[np.ndarray, "run column"], goal: Float[np.ndarray, "run"]) -> float:
    """Σ squared leave-one-out errors of that regression."""
    return _ridge(columns, goal)[2]


def _ridge(columns: np.ndarray, goal: np.ndarray) -> tuple[float, np.ndarray, float]:
    """Intercept at the columns' means, weights, and Σ squared leave-one-out errors at the best strength."""
    middle = float(goal.mean())
    y = goal - middle
    left, size, right = np.linalg.svd(columns - columns.mean(axis=0), full_matrices=False)
    best, weight = np.inf, np.zeros(columns.shape[1])
    for strength in (0.03, 0.3, 3.0, 30.0):
        shrink = size / (size**2 + strength)
        fitted = left @ (shrink * size * (left.T @ y))
        leverage = 1 / len(y) + (left**2) @ (shrink * size)
        error = float((((y - fitted) / np.maximum(1 - leverage, 1e-3)) ** 2).sum())
        if error < best:
            best, weight = error, right.T @ (shrink * (left.T @ y))
    return middle, weight, best


def radius(error: Float[np.ndarray, "run"], level: float) -> float:
    """Half-width of a conformal interval: of n errors the (level·(n + 1))-th smallest |error|, interpolated between its
    neighbours, so that a further one is covered with probability `level` and not more; infinite where n is too small."""
    place = level * (len(error) + 1) - 1
    if place > len(error) - 1 + 1e-9:
        return np.inf
    return float(np.interp(place, np.arange(len(error)), np.sort(np.abs(error))))


def _coverage(error: np.ndarray, fold: np.ndarray, level: float) -> float:
    """Share of held-out runs whose error lies within the radius given by the runs of the other folds."""
    inside = [np.abs(error[fold == held]) <= radius(error[fold != held], level) for held in np.unique(fold)]
    return float(np.concatenate(inside).mean())


def _mdape(guess: np.ndarray, goal: np.ndarray) -> float:
    return float(np.median(np.abs(np.exp(guess - goal) - 1)))
