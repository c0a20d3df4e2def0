"""What the other runs say about a run that has got to a step: the chance of a jump, and when, both scored held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.special import stdtr

from interp.leads.logistic import fit, fit_many, log_loss, sigmoid
from interp.leads.panel import Panel
from interp.leads.spec import Spec
from interp.leads.timing import LEAST_RUNS, leave_one_out_error, predict, radius

N_SERIES = 3
TEMPER = 2.0  # runs' worth of belief that logits need no tempering


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chance:
    """p: probability for the run; held, label: held-out probabilities of the other runs at the same step, and what came.
    chosen: the series behind it. NaN and empty where `reason` says why."""

    p: float = np.nan
    held: Float[np.ndarray, "run"] = field(default_factory=lambda: np.empty(0))
    label: Float[np.ndarray, "run"] = field(default_factory=lambda: np.empty(0))
    chosen: tuple[int, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class When:
    """Forecast step with its interval, given a jump within the budget; error: held-out ln(T/forecast) of the other
    runs that were still to jump at that step, and inside: whether T lay within the interval that the rest of them
    gave."""

    predicted: float = np.nan
    low: float = np.nan
    high: float = np.nan
    error: Float[np.ndarray, "run"] = field(default_factory=lambda: np.empty(0))
    inside: Bool[np.ndarray, "run"] = field(default_factory=lambda: np.empty(0, bool))
    chosen: tuple[int, ...] = ()
    reason: str = ""


def chance(
    panel: Panel,
    values: Float[np.ndarray, "series run grid feature"],
    me: int,
    at: int,
    end: Float[np.ndarray, "run grid"],
    fold_of: Int[np.ndarray, "run"],
) -> Chance:
    """P(T ≤ end[me, at]) of run `me` at grid step `at`.

    Learned from the rows (run, s) of the other runs with s within a factor 2 of the step, at risk at s, and with
    end[run, s] inside what is known of the run: a logistic regression on setting, log s and the features of the three
    series that say most on the training rows. The same is done without each fold, to score the other runs at the step
    itself; as boldly as those came true, the logits are believed (`tempered`): few runs make a forecast too sure. Where
    fewer than five other runs of either outcome are near the step, what is left is `bare_chance`.
    """
    t = panel.step
    near = (t >= t[at] / 2) & (t <= 2 * t[at]) & panel.seen & (t < panel.T[:, None]) & (end <= panel.budget[:, None])
    near[me] = False
    run, grid = np.nonzero(near)
    label = (panel.T[run] <= end[run, grid]).astype(float)
    if len(np.unique(run[label == 1])) < 5 or len(np.unique(run[label == 0])) < 5:
        bare = bare_chance(panel, me, t[at], float(end[me, at]))
        return Chance(p=bare, reason="fewer than five other runs of each outcome near this step: "
                      "the chance is that of a run that has not jumped by now, whatever it measures")  # fmt: skip
    asked = np.flatnonzero((t[at] < panel.T) & (end[:, at] <= panel.budget) & (np.arange(len(panel.T)) != me))
    held = np.full(len(asked), np.nan)
    for fold in np.unique(fold_of[asked]):
        train, test = fold_of[run] != fold, fold_of[asked] == fold
        if label[train].min() < label[train].max():
            held[test] = _learn(panel, values, run[train], grid[train], label[train], asked[test], at)[1]
    chosen, logit = _learn(panel, values, run, grid, label, np.array([me]), at)
    told = np.isfinite(held)
    came, held, fold_of = (end[:, at] >= panel.T)[asked].astype(float)[told], held[told], fold_of[asked][told]
    own = np.empty(len(held))
    for fold in np.unique(fold_of):
        rest = fold_of != fold
        own[~rest] = tempered(held[rest], came[rest], held[~rest])
    p = sigmoid(tempered(held, came, logit))
    return Chance(p=float(p[0]), held=sigmoid(own), label=came, chosen=chosen)


def bare_chance(panel: Panel, me: int, now: float, end: float) -> float:
    """P(T ≤ end | T > now) of a run by the other runs' steps alone: a share never jumps, log T of the rest follows
    Student's t about their mean (of the run's own setting, where five of its runs jumped).

    The share that never jumps is (k + ½)/(n + 1), of n runs that jumped (n − k) or have been seen to their budget
    without. So a straggler beyond every known jump gets a number too: ever lower, never null.
    """
    others = np.arange(len(panel.runs)) != me
    own = others & (panel.setting == panel.setting[me])
    known = own if (own & panel.event).sum() >= 5 else others
    jumped, never = known & panel.event, known & ~panel.event & (panel.budget >= panel.planned)
    n = int(jumped.sum())
    never_share = (never.sum() + 0.5) / (n + never.sum() + 1)
    if n < 2:
        return float(1 - never_share)
    log_t = np.log(panel.T[jumped])
    scale = max(float(log_t.std(ddof=1)), 0.05) * np.sqrt(1 + 1 / n)
    later, past = (stdtr(n - 1, -(np.log(x) - log_t.mean()) / scale) for x in (now, max(end, now)))
    still = (1 - never_share) * later + never_share
    return float((1 - never_share) * (later - past) / still)


def tempered(
    held: Float[np.ndarray, "run"], label: Float[np.ndarray, "run"], new: Float[np.ndarray, "new"]
) -> Float[np.ndarray, "new"]:
    """New logits, stretched and moved as held-out ones would have had to be to come true (Platt scaling, a ridge of
    TEMPER towards no change)."""
    if not len(held):
        return new

    def loss(at: Float[np.ndarray, "2"]) -> float:
        return float(log_loss(at[0] * held + at[1], label).sum() + 0.5 * TEMPER * ((at[0] - 1) ** 2 + at[1] ** 2))

    stretch, move = minimize(loss, [1.0, 0.0]).x
    return np.asarray(stretch * new + move)


def _learn(
    panel: Panel, values: np.ndarray, run: np.ndarray, grid: np.ndarray, label: np.ndarray, new: np.ndarray, at: int
) -> tuple[tuple[int, ...], np.ndarray]:
    """The chosen series and the logits of the runs `new` at grid step `at`."""
    per_run = len(run) / len(np.unique(run))

    def common(runs: np.ndarray, steps: np.ndarray) -> np.ndarray:
        u = np.log(panel.step[steps] / panel.step[at])
        return np.column_stack([np.ones(len(runs)), u, np.eye(len(panel.settings))[panel.setting[runs]]])

    base = common(run, grid)
    penalty = np.r_[1e-6, np.full(base.shape[1] - 1, 0.1 * per_run)]
    offset = base @ fit(base, label, penalty)
    x = values[:, run, grid].transpose(0, 2, 1)
    weight = fit_many(x, label, offset, 0.2 * per_run)
    loss = log_loss(offset + (weight[:, None, :] @ x)[:, 0], label).sum(axis=1)
    chosen = np.argsort(loss, kind="stable")[:N_SERIES]

    def columns(runs: np.ndarray, steps: np.ndarray) -> np.ndarray:
        told = values[chosen][:, runs, steps].transpose(1, 0, 2).reshape(len(runs), -1)
        return np.concatenate([common(runs, steps), told], axis=1)

    design = columns(run, grid)
    ridge = np.r_[penalty, np.full(design.shape[1] - len(penalty), 0.2 * per_run)]
    found = fit(design, label, ridge)
    return tuple(map(int, chosen)), columns(new, np.full(len(new), at)) @ found


def when(
    panel: Panel,
    values: Float[np.ndarray, "series run grid feature"],
    me: int,
    at: int,
    fold_of: Int[np.ndarray, "run"],
    spec: Spec,
) -> When:
    """Step of the jump of run `me`, seen from grid step `at`: ridge regression of log T on setting and the features
    of the three series that forecast best by themselves (leave-one-out), over the other runs that jump later than
    that; the interval is conformal, from held-out errors."""
    others = np.flatnonzero(panel.event & (panel.step[at] < panel.T) & (np.arange(len(panel.runs)) != me))
    if len(others) < LEAST_RUNS:
        return When(reason=f"{len(others)} other runs jump later than this step; {LEAST_RUNS} are needed")
    member = np.eye(len(panel.settings))[panel.setting]
    goal, fold = np.log(panel.T[others]), fold_of[others]
    error = np.empty(len(others))
    for held in np.unique(fold):
        train, test = others[fold != held], others[fold == held]
        chosen = _best(values[:, :, at], member, train, goal[fold != held])
        x = np.concatenate([member, *values[chosen][:, :, at]], axis=1)
        error[fold == held] = goal[fold == held] - predict(x[train], goal[fold != held], x[test])
    inside = np.empty(len(others), bool)
    for held in np.unique(fold):
        inside[fold == held] = np.abs(error[fold == held]) <= radius(error[fold != held], spec.forecast_level)
    chosen = _best(values[:, :, at], member, others, goal)
    x = np.concatenate([member, *values[chosen][:, :, at]], axis=1)
    guess = float(predict(x[others], goal, x[[me]])[0])
    reach = radius(error, spec.forecast_level)
    now = panel.step[at]
    predicted, low, high = (max(float(np.exp(y)), now) for y in (guess, guess - reach, guess + reach))
    return When(predicted=predicted, low=low, high=high, error=error, inside=inside, chosen=tuple(chosen))


def _best(features: np.ndarray, member: np.ndarray, runs: np.ndarray, goal: np.ndarray) -> Sequence[int]:
    errors = [leave_one_out_error(np.concatenate([member, x], axis=1)[runs], goal) for x in features]
    return [int(k) for k in np.argsort(errors, kind="stable")[:N_SERIES]]
