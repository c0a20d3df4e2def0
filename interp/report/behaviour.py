"""What the models do: every run's behaviour over the steps, and where it jumps."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from interp.figures import style
from interp.report.outcomes import RunStyle, as_table, behaviour, outcomes, run_styles, target_curves
from interp.report.rows import rows_of

MAX_RUNS = 48
MAX_CURVES = 24
MAX_POINTS = 18_000
"""Points of all runs and curves together that the figure holds: about 1 MB of a page of at most 8, 5 of which are plotly."""


def behaviour_data(table: Any, jumps: Any = None) -> pd.DataFrame:
    """The data of `behaviour_figure`: task, measure, run, size, setting, seed, step, value, and the run's jump
    interval."""
    table = as_table(table)
    curves = behaviour(table)
    keep = ["task", "measure", "run", "size", "setting", "seed", "step", "value", "unit", "n"]
    curves = curves[keep].sort_values(["task", "measure", "run", "step"])
    parts = []
    for (task, measure), part in curves.groupby(["task", "measure"], sort=True):
        found = outcomes(table, jumps, str(task), str(measure)).set_index("run")
        columns = ["kind", "jumped", "step_before", "step_after", "midpoint"]
        parts.append(part.join(found[columns].astype(object), on="run"))
    return pd.concat(parts, ignore_index=True) if parts else curves


def behaviour_figure(table: Any, jumps: Any = None, *, controls: Collection[str] | None = None) -> go.Figure:
    """Behaviour against training steps on a log axis, one line a run, with a selector of task and measure.

    Below the curves, one row a run: a bar from the last checkpoint before its jump to the first one after; an open
    arrow at the budget where the run did not jump. The shaded band is the median interval. Beyond 48 runs an even
    choice of them is drawn.
    """
    table = as_table(table)
    styles = run_styles(table, controls)
    data = behaviour_data(table, jumps)
    runs = _chosen(styles, set(data["run"].unique()))
    data = data[data["run"].isin(runs)]
    curves = _fitting(_ordered_curves(table, data), data)
    zero = style.zero_place(data["step"])
    traces: list[tuple[go.Scatter, int]] = []
    shown: list[int] = []
    layouts: list[tuple[str, dict[str, Any]]] = []
    for place, (task, measure) in enumerate(curves):
        part = data[(data["task"] == task) & (data["measure"] == measure)]
        found = outcomes(table, jumps, task, measure)
        found = found[found["run"].isin(runs)]
        own = _lines(part, styles, runs, zero, measure) + _strip(found, styles, runs, zero)
        traces += [(trace.update(visible=place == 0), row) for trace, row in own]
        shown += [place] * len(own)
        layouts.append((f"{task}: {style.pretty(measure)}", _y_axis(part, measure, found, zero)))
    figure = _rooms(len(runs), style.step_axis(data["step"]))
    for trace, row in traces:
        figure.add_trace(trace, row=row, col=1)
    if layouts:
        figure.update_layout({name.replace(".", "_"): value for name, value in layouts[0][1].items()})
    if len(layouts) > 1:
        visible = [[place == owner for owner in shown] for place in range(len(layouts))]
        buttons = [
            {"label": label, "method": "update", "args": [{"visible": here}, layout]}
            for (label, layout), here in zip(layouts, visible, strict=True)
        ]
        figure.update_layout(updatemenus=[style.dropdown(buttons)])
    elif layouts:
        figure.update_layout(title={"text": layouts[0][0], "font": {"size": 14}, "x": 0.0, "xref": "paper"})
    return figure


def _rooms(n_runs: int, axis: dict[str, Any]) -> go.Figure:
    """Two empty panels over one step axis: the curves, and below them a row a run."""
    heights = [0.72, 0.28] if n_runs > 3 else [0.85, 0.15]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.025, row_heights=heights)
    style.styled(figure, height=470 + 9 * n_runs, hovermode="closest", margin={"t": 56, "r": 190})
    figure.update_xaxes(**{**axis, "title": None, "showticklabels": False, "ticks": ""}, row=1, col=1)
    figure.update_xaxes(**axis, row=2, col=1)
    rows = {"range": [-0.8, n_runs - 0.2], "showgrid": False, "showticklabels": False, "ticks": ""}
    figure.update_yaxes(**rows, row=2, col=1)
    figure.add_annotation(
        text="jump<br>interval,<br>by run",
        font={"size": 11, "color": style.MUTED},
        align="right",
        showarrow=False,
        x=0,
        xref="paper",
        xanchor="right",
        xshift=-10,
        y=0.5,
        yref="y2 domain",
    )
    return figure.update_layout(legend={"tracegroupgap": 2, "x": 1.01, "y": 1})


def _fitting(curves: list[tuple[str, str]], data: pd.DataFrame) -> list[tuple[str, str]]:
    """As many of the curves as `MAX_CURVES` and `MAX_POINTS` allow: one at least."""
    points = data.groupby(["task", "measure"]).size()
    total = np.cumsum([points[curve] for curve in curves])
    return curves[: max(1, min(MAX_CURVES, int((total <= MAX_POINTS).sum())))]


def _ordered_curves(table: pd.DataFrame, data: pd.DataFrame) -> list[tuple[str, str]]:
    """(task, measure): targets before other measures, among each those of tasks with the most jumps first."""
    targets = target_curves(table)
    counts = data[data["jumped"].astype(bool)].groupby(["task", "measure"])["run"].nunique().to_dict()
    pairs = data[["task", "measure"]].drop_duplicates()
    there = sorted((str(row.task), str(row.measure)) for row in rows_of(pairs))
    return sorted(there, key=lambda curve: (curve not in targets, -counts.get(curve, 0)))


def _chosen(styles: dict[str, RunStyle], there: set[str]) -> list[str]:
    """The runs to draw, in order of size and setting; an even choice beyond `MAX_RUNS`."""
    runs = sorted(there, key=lambda run: (styles[run].order, run))
    places = np.unique(np.linspace(0, len(runs) - 1, min(len(runs), MAX_RUNS)).round().astype(int))
    return [runs[i] for i in places] if runs else []


def _groups(styles: dict[str, RunStyle], runs: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for run in runs:
        found.setdefault(styles[run].label, []).append(run)
    return found


def _lines(
    part: pd.DataFrame, styles: dict[str, RunStyle], runs: list[str], zero: float, measure: str
) -> list[tuple[go.Scatter, int]]:
    """One trace a group, its runs parted by gaps."""
    traces = []
    for label, members in _groups(styles, runs).items():
        x: list[float] = []
        y: list[float] = []
        text: list[str] = []
        steps: list[float] = []
        for run in members:
            curve = part[part["run"] == run]
            x += [*style.placed(curve["step"].to_numpy(float), zero), np.nan]
            y += [*curve["value"], np.nan]
            text += [run] * len(curve) + [""]
            steps += [*curve["step"].astype(float), np.nan]
        look = styles[members[0]]
        line = go.Scatter(
            x=np.array(x, dtype=np.float32),
            y=np.array(y, dtype=np.float32),
            text=text,
            customdata=np.array(steps),
            name=style.shortened(label),
            legendgroup=label,
            mode="lines+markers" if len(x) <= 12 * len(members) else "lines",
            marker={"size": 5},
            line={"color": look.colour, "dash": look.dash, "width": 1.6},
            opacity=0.9,
            hovertemplate="%{text}<br>step %{customdata:,.12~g}<br>"
            + style.pretty(measure).replace("<", "")
            + " %{y:.4~g}<extra></extra>",
        )
        traces.append((line, 1))
    return traces


def _strip(
    found: pd.DataFrame, styles: dict[str, RunStyle], runs: list[str], zero: float
) -> list[tuple[go.Scatter, int]]:
    """One row a run: its jump interval, or an open arrow at its budget."""
    traces = []
    rows = {run: len(runs) - 1 - place for place, run in enumerate(runs)}
    records = {record.run: record for record in rows_of(found)}
    for label, members in _groups(styles, runs).items():
        look = styles[members[0]]
        jumped = [records[run] for run in members if run in records and records[run].jumped]
        still = [records[run] for run in members if run in records and not records[run].jumped]
        bars: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
        for record in jumped:
            ends = style.placed([record.step_before, record.step_after], zero)
            note = f"{record.run}<br>{record.kind} jump between steps {style.number(record.step_before)}"
            note += f" and {style.number(record.step_after)}"
            bars["x"] += [*ends, None]
            bars["y"] += [rows[record.run]] * 2 + [None]
            bars["text"] += [note, note, ""]
        common = {"legendgroup": label, "showlegend": False, "hovertemplate": "%{text}<extra></extra>"}
        if jumped:
            line = {"color": look.colour, "width": 5}
            traces.append((go.Scatter(**bars, mode="lines", line=line, **common), 2))
        if still:
            marker = {"symbol": "triangle-right-open", "size": 8, "color": look.colour, "line": {"width": 1.4}}
            notes = [f"{r.run}<br>{_why_not(r)}, followed to step {style.number(r.last_step)}" for r in still]
            ends = style.placed([r.last_step for r in still], zero)
            rows_still = [rows[r.run] for r in still]
            traces.append((go.Scatter(x=ends, y=rows_still, text=notes, mode="markers", marker=marker, **common), 2))
    return traces


def _why_not(record: Any) -> str:
    kinds = {"none": "no jump", "artefact": "artefact of the measure", "spike": "a spike, not a jump"}
    told = kinds.get(record.kind, record.kind)
    return f"{told} ({record.reason})" if record.reason else told


def _y_axis(part: pd.DataFrame, measure: str, found: pd.DataFrame, zero: float) -> dict[str, Any]:
    """The layout that belongs to one measure: y axis, and the band of the median jump interval."""
    values = part["value"].replace([np.inf, -np.inf], np.nan).dropna()
    unit = next((str(unit) for unit in part["unit"] if unit not in ("", "share")), "")
    wide = len(values) > 0 and values.min() > 0 and values.max() / values.min() > 200
    axis: dict[str, Any] = {"type": "linear", "autorange": True, "tickformat": "", "dtick": None}
    if style.is_share(measure) and len(values) and values.between(0, 1).all():
        axis |= {"range": [-0.03, 1.04], "tickformat": ".0%", "autorange": False}
    elif wide:
        axis |= {"type": "log", "dtick": 1, "tickformat": "~g"}
    title = style.pretty(measure) + (f" ({unit})" if unit else "")
    jumped = found[found["jumped"]] if len(found) else found
    shapes = []
    if len(jumped):
        ends = style.placed([jumped["step_before"].median(), jumped["step_after"].median()], zero)
        shapes = [
            {
                "type": "rect",
                "xref": "x",
                "yref": "paper",
                "x0": float(ends[0]),
                "x1": float(ends[1]),
                "y0": 0,
                "y1": 1,
                "fillcolor": style.ACCENT_SOFT,
                "line": {"width": 0},
                "layer": "below",
            }
        ]
    return {"yaxis.title.text": title, **{f"yaxis.{name}": value for name, value in axis.items()}, "shapes": shapes}
