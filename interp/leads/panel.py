"""A task's runs as arrays: who is at risk when, and what every series said by then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from interp.jumps import find_jumps
from interp.jumps.curve import default_range
from interp.leads.features import FEATURES, features
from interp.leads.spec import Spec
from interp.table.events import Change, Event, choose_target, events_of, run_facts, target_rows, tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What one row of the board is about: a measure at a component and a position.
    role: `indicator`, `hindsight`, `baseline`, or `clock` (the step itself).
    cost: mean cost in forward-pass equivalents, NaN where the table has none.
    easier: whether it looks like the target measured on easier items (`easier_items`).
    """

    measure: str
    component: str = ""
    position: int | None = None
    role: str = "indicator"
    cost: float = np.nan
    easier: bool = False


PER_RUN = ("setting", "size", "task_code", "seen", "rising", "T", "middle", "budget", "planned")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """The runs of one task on a common grid of steps (those of the behaviour, made positive).

    setting, size: what each run belongs to, as codes into `settings` and `sizes`.
    seen: where the run has a checkpoint of the behaviour; rising: how far its own rise has got (`under_way`).
    T: step of the event (the half-way point in `middle`), infinite where the run is censored at `budget`: the planned
        number of steps, or the last checkpoint of a run that has not got there.
    values: features of each series as they stood at or before the grid's step; NaN where there is none yet.
    """

    task: str
    target: str
    runs: tuple[str, ...]
    settings: tuple[str, ...]
    sizes: tuple[str, ...]
    setting: Int[np.ndarray, "run"]
    size: Int[np.ndarray, "run"]
    task_code: Int[np.ndarray, "run"]
    step: Float[np.ndarray, "grid"]
    seen: Bool[np.ndarray, "run grid"]
    rising: Float[np.ndarray, "run grid"]
    T: Float[np.ndarray, "run"]
    middle: Float[np.ndarray, "run"]
    budget: Float[np.ndarray, "run"]
    planned: Float[np.ndarray, "run"]
    series: tuple[Series, ...]
    values: Float[np.ndarray, "series run grid feature"]

    def of(self, role: str) -> list[int]:
        """Indices of the series that play a role."""
        return [index for index, series in enumerate(self.series) if series.role == role]

    def take(self, runs: Sequence[int] | np.ndarray) -> Panel:
        """The panel of some of its runs."""
        index = np.asarray(runs, int)
        own = {name: getattr(self, name)[index] for name in PER_RUN}
        return replace(self, runs=tuple(self.runs[i] for i in index), values=self.values[:, index], **own)

    @property
    def event(self) -> Bool[np.ndarray, "run"]:
        """Which runs have a completed jump within their budget."""
        return np.isfinite(self.T)


def target_events(goal: pd.DataFrame, spec: Spec, jumps: Iterable[Change] | None = None) -> dict[str, Event]:
    """The event of every run of a target, by run. jumps: records that `find_jumps` gave for the whole table, if any."""
    if jumps is None:
        bare = goal[["run", "task", "step", "measure", "value", "stderr", "n"]]  # no settings: no entries over seeds
        jumps = find_jumps(bare, min_magnitude=spec.min_magnitude, models=False)
    return events_of(goal, jumps, direction=spec.direction, min_magnitude=spec.min_magnitude)


def under_way(event: Event, step: Float[np.ndarray, "step"], floor: float = 0.03) -> Float[np.ndarray, "step"]:
    """How far the behaviour's own rise has got by its fitted curve: log(share / floor), 0 below the floor, 1 at 10 %.

    The share is that of a sigmoid in log step. It is the target as if measured without noise, from 3 % of its rise on:
    known only afterwards, and used only to make the baseline stronger, so that an indicator does not lead by being the
    better thermometer of a rise that has begun. A lower floor would give the event away: of a rise of .8
    decades 1 % is done at T/3.
    """
    if np.isnan(event.centre):
        return np.zeros(len(step))
    logit = (np.log10(step) - event.centre) * 2 * np.log(9) / max(event.width, 1e-3)
    share = 0.5 * (1 + np.tanh(0.5 * logit))
    return np.log(np.maximum(share, floor) / floor) / np.log(0.1 / floor)


def make_panel(table: pd.DataFrame, task: str, spec: Spec, jumps: Iterable[Change] | None = None) -> Panel:
    """The panel of one task. Values that are not finite are no values. jumps: as in `target_events`."""
    target = choose_target(table, task, spec.target)
    goal = target_rows(table, task, target)
    facts = run_facts(goal)
    runs, planned = tuple(facts.index), facts["planned"].to_numpy()
    rows = table[(table["task"] == task) & table["run"].isin(runs)]
    step = _grid(goal["step"].to_numpy(float))
    settings, setting = np.unique(facts["setting"].astype(str), return_inverse=True)
    sizes, size = np.unique(facts["size"].astype(str), return_inverse=True)
    found = target_events(goal, spec, jumps)
    events, of_run = [found[str(run)] for run in runs], dict(iter(goal.groupby("run", observed=True)["step"]))
    T, middle = (np.array([getattr(event, name) for event in events]) for name in ("T", "middle"))
    rising = np.stack([under_way(event, tick(step)) for event in events])
    seen = np.stack([np.isin(step, of_run[run]) for run in runs])
    jumped = {run for run, event in zip(runs, events, strict=True) if np.isfinite(event.T)}
    series, values = _series(rows, runs, step, goal[goal["run"].isin(jumped)], target, spec)
    return Panel(
        task=task,
        target=target,
        runs=runs,
        settings=tuple(settings),
        sizes=tuple(sizes),
        setting=setting,
        size=size,
        task_code=np.zeros(len(runs), int),
        step=tick(step),
        seen=seen,
        rising=rising,
        T=middle if spec.event == "midpoint" else T,
        middle=middle,
        budget=np.minimum(planned, facts["last"].to_numpy()),
        planned=planned,
        series=series,
        values=values,
    )


def past_budget(panel: Panel) -> list[str]:
    """A note, where runs have checkpoints past their planned end."""
    n = int((panel.seen & (panel.step > panel.planned[:, None])).any(axis=1).sum())
    what = (
        f"{panel.task}: {n} of {len(panel.runs)} runs have checkpoints past their budget; a jump that begins there is"
    )
    return [f"{what} no event, and they are censored at the budget"] if n else []


def _grid(steps: np.ndarray, most: int = 240) -> np.ndarray:
    """All steps at which the target was measured; where they are many, those nearest to a logarithmic grid."""
    steps = np.unique(steps)
    if len(steps) <= most:
        return steps
    u = np.log(tick(steps))
    wanted = np.linspace(u[0], u[-1], most)
    return steps[np.unique(np.abs(u[:, None] - wanted).argmin(axis=0))]


def _series(
    rows: pd.DataFrame, runs: Sequence[str], step: np.ndarray, jumped: pd.DataFrame, target: str, spec: Spec
) -> tuple[tuple[Series, ...], np.ndarray]:
    """Every series with its role, and its features aligned with the grid: the last value at or before each step."""
    clock = features(step, np.log(tick(step))[None]).astype(np.float32)
    found = [Series(measure="step", role="clock", cost=0.0)]
    blocks = [np.repeat(clock, len(runs), axis=0)]
    row_of = {run: index for index, run in enumerate(runs)}
    for key, part in rows.groupby(["measure", "component", "position"], observed=True):
        series = _describe(key, part, target, spec)
        if series.role == "indicator" and spec.indicators is not None and series.measure not in spec.indicators:
            continue
        if series.role == "indicator" and easier_items(part, jumped):
            series = replace(series, easier=True)
        found.append(series)
        blocks.append(_aligned(part[np.isfinite(part["value"].to_numpy(float))], row_of, step))
    return tuple(found), np.stack(blocks)


def _describe(key: Any, part: pd.DataFrame, target: str, spec: Spec) -> Series:
    measure, component, position = key
    online = bool(part["online"].all())
    trivial = measure == target or measure in spec.baselines or (part["kind"] == "behaviour").all()
    role = "hindsight" if not online else "baseline" if trivial else "indicator"
    cost = part["cost"].to_numpy(float) if "cost" in part else np.array([np.nan])
    return Series(
        measure=str(measure),
        component=str(component),
        position=int(position) if position else None,
        role=role,
        cost=float(np.mean(cost[np.isfinite(cost)])) if np.isfinite(cost).any() else np.nan,
    )


def easier_items(part: pd.DataFrame, jumped: pd.DataFrame, last: int = 3) -> bool:
    """Whether an indicator looks like the target on easier items: it has the target's `n` and range, and its final level
    (mean of the last three checkpoints) is within two standard errors of the target's in 90 % of the runs with an event.

    part: the indicator's rows; jumped: those of the target in the runs with an event.
    """
    columns = ["value", "n", "stderr"]
    if not part["n"].notna().any() or not jumped["n"].notna().any():
        return False
    ends = [
        rows[rows["value"].notna()].sort_values("step").groupby("run", observed=True)[columns].apply(
            lambda own: own.tail(last).mean()
        )
        for rows in (part, jumped)
    ]  # fmt: skip
    both = ends[0].join(ends[1], how="inner", rsuffix="_of_target")
    if both.empty or not np.array_equal(both["n"], both["n_of_target"]):
        return False
    span = default_range(str(jumped["measure"].iloc[0]), jumped["value"].to_numpy(float)) or np.ptp(jumped["value"])
    low = 0.0 if span in (1.0, 100.0) else float(jumped["value"].min()) - 0.1 * span
    if (
        part["value"].min() < low
        or part["value"].max() > low + 1.2 * span
        or np.ptp(part["value"].dropna()) < 0.5 * span
    ):
        return False
    errors = []
    for end in ("", "_of_target"):
        share, n = (both["value" + end] / span).clip(0, 1), both["n" + end]
        share = (share * n + 0.5) / (n + 1)
        binomial = span * np.sqrt(share * (1 - share) / n)
        errors.append(both["stderr" + end].where(both["stderr" + end].notna(), binomial).to_numpy(float))
    near = (both["value"] - both["value_of_target"]).abs() <= 2 * np.hypot(errors[0], errors[1])
    return bool(near.mean() >= 0.9 and len(near) >= 0.9 * jumped["run"].nunique())


def _aligned(part: pd.DataFrame, row_of: Mapping[str, int], step: np.ndarray) -> np.ndarray:
    """Features [run, grid, feature] of one series; runs with equal checkpoints are computed together."""
    out = np.full((len(row_of), len(step), len(FEATURES)), np.nan, np.float32)
    part = part.sort_values(["run", "step"], kind="stable")
    run, at, value = part["run"].to_numpy(), part["step"].to_numpy(float), part["value"].to_numpy(float)
    edges = np.flatnonzero(np.r_[True, run[1:] != run[:-1], True]) if len(run) else np.empty(0, int)
    same: dict[bytes, list[tuple[int, slice]]] = {}
    for begin, end in pairwise(edges):
        same.setdefault(at[begin:end].tobytes(), []).append((row_of[run[begin]], slice(begin, end)))
    for group in same.values():
        own = at[group[0][1]]
        block = features(own, np.stack([value[where] for _, where in group]))
        index = np.searchsorted(own, step, side="right") - 1
        known = index >= 0
        rows = np.array([row for row, _ in group])
        out[np.ix_(rows, np.flatnonzero(known))] = block[:, index[known]]
    return out
