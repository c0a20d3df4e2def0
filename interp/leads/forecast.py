"""A run in progress, seen with the eyes of the finished ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.errors import InputError, unknown
from interp.figures.text import bare, html, in_columns, number, told
from interp.files import plain
from interp.leads.baseline import standardised
from interp.leads.board import name_of
from interp.leads.panel import Panel, past_budget
from interp.leads.rank import make_panels
from interp.leads.run_forecast import Chance, When, chance, when
from interp.leads.spec import Spec, read_spec
from interp.leads.splits import folds
from interp.table import read_table

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

N_POINTS = 10


class Forecast(dict[str, Any]):
    """The plain data that `forecast` gives, which shows itself."""

    def __repr__(self) -> str:
        between = f"{number(self['low'])} to {number(self['high'])}"
        return told(
            f"Forecast of {self['run']} ({self['task']}, {self['target']}): {self['status']} at step {number(self['now'])}",
            f"jumped at {number(self['T'])}" if self["status"] == "jumped" else "",
            f"chance within a factor {number(self['horizon'])} of steps {number(self['p_next'])}, by its planned end "
            f"{number(self['p_by_budget'])}",
            f"predicted step {number(self['predicted'])} ({between}, {self['level']:.0%})",
            f"why not: {self['reason']}" if self["reason"] else "",
            ".plot(), .to_pandas()",
        )

    def _repr_html_(self) -> str:
        return html(repr(self), self["points"])

    def to_pandas(self) -> pd.DataFrame:
        """A row a step at which the run is forecast: step, p_next, p_by_budget, predicted, low, high."""
        import pandas as pd

        return pd.DataFrame(self["points"], columns=["step", "p_next", "p_by_budget", "predicted", "low", "high"])

    def plot(self) -> go.Figure:
        """The predicted step with its interval, as it was told at every earlier step: a fan that closes."""
        from interp.leads.figure import forecast_figure

        return forecast_figure(self)


def forecast(
    table: pd.DataFrame | str | Path,
    run: str,
    *,
    task: str | None = None,
    target: str | None = None,
    direction: str | None = None,
    spec: Spec | Mapping[str, Any] | str | Path | None = None,
) -> Forecast:
    """Will `run` jump within the next factor h of steps, by its budget, and when? Learned from the others.

    Gives plain data: `p_next`, `p_by_budget`, `predicted` with `low` and `high` (an interval of nominal coverage
    `level`, given that it jumps within the budget), `series` that the forecast rests on, the same at earlier steps of
    the run (`points`, for a fan chart), and `calibration`: the same forecasts of the other runs, each held out. Null
    where the runs cannot tell; `reason` says why. A run that has jumped gets `status` "jumped" and its `T`.

    task: which task, where the run has several (default: the first by name). target, direction, spec: as in
    `rank_leads`.

    Raises:
        InputError: a table without `kind`, no such run, task or target.
    """
    spec = read_spec(spec)
    spec = read_spec(replace(spec, target=target or spec.target, direction=direction or spec.direction))
    panel, others = _panel_of(make_panels(read_table(table), spec)[0], run, task)
    me = panel.runs.index(run)
    last = int(np.flatnonzero(panel.seen[me])[-1])
    out: dict[str, Any] = {
        "run": run, "task": panel.task, "target": panel.target, "setting": panel.settings[panel.setting[me]],
        "status": _status(panel, me), "T": panel.T[me], "now": panel.step[last], "budget": panel.planned[me],
        "horizon": spec.horizon, "level": spec.forecast_level,
    }  # fmt: skip
    usable = [k for k, series in enumerate(panel.series) if series.role in ("indicator", "baseline")]
    values = standardised(panel, usable).astype(float)
    fold_of = folds(panel, "run", spec.folds, spec.seed)
    points = [_point(panel, values, me, at, fold_of, spec) for at in _moments(panel, me)]
    _, now, soon, by_end, step = points[-1]
    names = [name_of({"indicator": s.measure, "component": s.component, "position": s.position}) for s in panel.series]
    out |= now
    out["reason"] = "; ".join(dict.fromkeys(filter(None, (soon.reason, by_end.reason, step.reason))))
    out["series"] = [names[usable[k]] for k in dict.fromkeys((*soon.chosen, *step.chosen))]
    out["points"] = [point for ok, point, *_ in points if ok]
    out["calibration"] = _calibration([point[2:] for point in points], spec)
    out |= {"n_runs": len(panel.runs) - 1, "n_events": int(np.delete(panel.event, me).sum())}
    out["notes"] = [*(f"the run is also in task {name!r}" for name in others), *past_budget(panel)]
    out["spec"] = spec.digest
    return Forecast(plain(out))


def format_forecast(found: Mapping[str, Any]) -> str:
    """What `forecast` gave as text: the facts, a line each, then the forecasts at earlier steps and how those of the
    held-out runs came true, as tables."""
    facts = {key: value for key, value in found.items() if key not in ("points", "calibration")}
    shown = {key: ", ".join(value) if isinstance(value, list) else bare(value) for key, value in facts.items()}
    lines = [f"{key}: {text}" for key, text in shown.items() if text]
    if found["points"]:
        lines += ["", "The same at earlier steps", *_table(found["points"])]
    told, chances = found["calibration"], ("p_next", "p_by_budget")
    scores = [{"of held-out runs": name} | {key: told[name][key] for key in _SCORES} for name in chances]
    lines += ["", "Calibration: the same forecasts of other runs, held out", *_table(scores)]
    bins = [{"of held-out runs": name, **each} for name in chances for each in told[name]["bins"]]
    lines += ["", *_table(bins)] if bins else []
    held = f"median error {bare(told['mdape'])}, interval holds {bare(told['interval_coverage'])}"
    return "\n".join([*lines, "", f"predicted step: n {told['n']}, {held} (nominal {bare(told['level'])})"])


_SCORES = ("n", "brier", "brier_prevalence")


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        "  " + line for line in in_columns([list(rows[0]), *([bare(value) for value in row.values()] for row in rows)])
    ]


def _panel_of(panels: list[Panel], run: str, task: str | None) -> tuple[Panel, list[str]]:
    """The panel to forecast from, and the other tasks that the run is in."""
    if task is not None and task not in [panel.task for panel in panels]:
        raise unknown("task", task, [panel.task for panel in panels])
    holding = [panel for panel in panels if run in panel.runs]
    if not holding:
        raise unknown("run", run, sorted({name for panel in panels for name in panel.runs}))
    chosen = [panel for panel in holding if task in (None, panel.task)]
    if not chosen:
        raise InputError(f"run {run!r} is not in task {task!r}, but in {', '.join(panel.task for panel in holding)}")
    return chosen[0], [panel.task for panel in holding if panel is not chosen[0]]


def _status(panel: Panel, me: int) -> str:
    if panel.event[me]:
        return "jumped"
    return "finished without a jump" if panel.budget[me] >= panel.planned[me] else "in progress"


def _moments(panel: Panel, me: int) -> list[int]:
    """Grid indices at which the run is forecast: its checkpoints before its jump, thinned evenly in log step, the
    last always."""
    at = np.flatnonzero(panel.seen[me] & (panel.step < panel.T[me]))
    if not len(at):
        at = np.flatnonzero(panel.seen[me])[:1]
    u = np.log(panel.step[at])
    wanted = np.linspace(max(u[0], u[-1] - np.log(100)), u[-1], N_POINTS)
    return sorted({int(at[np.abs(u - x).argmin()]) for x in wanted})


def _point(
    panel: Panel, values: np.ndarray, me: int, at: int, fold_of: np.ndarray, spec: Spec
) -> tuple[bool, dict[str, Any], Chance, Chance, When]:
    """Is there a forecast step, the forecast in plain numbers, and its three parts."""
    ahead = np.broadcast_to(spec.horizon * panel.step, (len(panel.runs), len(panel.step)))
    budget = np.broadcast_to(panel.planned[:, None], ahead.shape)
    soon = chance(panel, values, me, at, ahead, fold_of)
    by_end = chance(panel, values, me, at, budget, fold_of)
    step = when(panel, values, me, at, fold_of, spec)
    numbers = {"step": panel.step[at], "p_next": soon.p, "p_by_budget": by_end.p,
               "predicted": step.predicted, "low": step.low, "high": step.high}  # fmt: skip
    return bool(np.isfinite(step.predicted)), {k: float(v) for k, v in numbers.items()}, soon, by_end, step


def _calibration(parts: Iterable[tuple[Chance, Chance, When]], spec: Spec) -> dict[str, Any]:
    """How the forecasts of held-out runs came true, over all steps at which this run is forecast."""
    soon, by_end, step = zip(*parts, strict=True)
    error = np.concatenate([each.error for each in step])
    inside = np.concatenate([each.inside for each in step])
    return {
        "p_next": _reliability(soon),
        "p_by_budget": _reliability(by_end),
        "mdape": float(np.median(np.abs(np.expm1(-error)))) if len(error) else np.nan,
        "interval_coverage": float(inside.mean()) if len(inside) else np.nan,
        "level": spec.forecast_level,
        "n": len(error),
    }


def _reliability(parts: tuple[Chance, ...]) -> dict[str, Any]:
    """Brier score beside that of the prevalence, and observed frequency in fifths of the forecast probability."""
    p, y = np.concatenate([each.held for each in parts]), np.concatenate([each.label for each in parts])
    if not len(p):
        return {"n": 0, "brier": np.nan, "brier_prevalence": np.nan, "bins": []}
    which = np.minimum((5 * p).astype(int), 4)
    bins = [
        {"forecast": float(p[which == k].mean()), "observed": float(y[which == k].mean()), "n": int((which == k).sum())}
        for k in np.unique(which)
    ]
    return {
        "n": len(p),
        "brier": float(((p - y) ** 2).mean()),
        "brier_prevalence": float(y.mean() * (1 - y.mean())),
        "bins": bins,
    }
