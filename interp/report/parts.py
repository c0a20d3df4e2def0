"""Behaviour part by part: the digits of an answer, the sub-tasks of a skill, groups of prompts. Each part can jump at
a time of its own, which the mean over all of them blurs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from interp.figures import style
from interp.report.outcomes import as_table, jump_frame
from interp.report.rows import rows_of
from interp.report.section import Material, Section, caption, figure_html, section
from interp.table.events import CHANGES

MAX_PARTS = 24
MAX_RUNS = 8


def parts_data(table: Any) -> pd.DataFrame:
    """The curves of `parts_figure`: task, measure, part, run, setting, seed, step, value, unit.

    A part is a component or a position of a behaviour measure: `subtask3`, or `token 2` for the answer's third token.
    """
    table = as_table(table)
    rows = table[(table["kind"] == "behaviour") & ((table["component"] != "") | (table["position"] != ""))]
    found = rows[["task", "measure", "run", "setting", "seed", "step", "value", "unit"]]
    found = found.assign(part=[_part(row.component, row.position) for row in rows_of(rows)])
    return found.sort_values(["task", "measure", "run", "part", "step"], ignore_index=True)


def parts_jumps(jumps: Any) -> pd.DataFrame:
    """The jumps of the parts: task, measure, part, run, kind, step_before, step_after; several a curve where it has
    them."""
    rows = jump_frame(jumps)
    rows = rows[rows["kind"].isin(CHANGES) & rows["step_before"].notna() & (rows["run"] != "")]
    rows = rows[(rows["component"] != "") | (rows["position"] != "")]
    found = rows[["task", "measure", "run", "kind", "step_before", "step_after"]]
    return found.assign(part=[_part(row.component, row.position) for row in rows_of(rows)])


def parts_figure(table: Any, jumps: Any = None) -> go.Figure:
    """Above: each part's curves over training steps (log axis), one colour a part, one line a run, with a selector of
    task and measure. Below: one row a part, with a bar for each of its jumps in each run, from the last checkpoint
    before to the first one after; runs stand one above the other.

    At most 24 parts and 8 runs (an even choice of them) are drawn.
    """
    data, events = parts_data(table), parts_jumps(jumps)
    data = data[data["run"].isin(_even(sorted(data["run"].unique()), MAX_RUNS))]
    curves = _ordered(data)
    zero = style.zero_place(data["step"])
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.03, row_heights=[0.62, 0.38])
    owners: list[int] = []
    buttons = []
    for place, (task, measure) in enumerate(curves):
        chosen = data[(data["task"] == task) & (data["measure"] == measure)]
        parts = _even(sorted(chosen["part"].unique(), key=_in_order), MAX_PARTS)
        own = events[(events["task"] == task) & (events["measure"] == measure)]
        for trace, row in _traces(chosen, own, parts, zero):
            figure.add_trace(trace.update(visible=place == 0), row=row, col=1)
            owners.append(place)
        buttons.append((f"{task}: {style.pretty(measure)}", _axes(chosen, parts)))
    menu = [
        {"label": label, "method": "update", "args": [{"visible": [place == owner for owner in owners]}, layout]}
        for place, (label, layout) in enumerate(buttons)
    ]
    most = max((data[data["measure"] == measure]["part"].nunique() for _, measure in curves), default=1)
    style.styled(figure, height=430 + 14 * min(most, MAX_PARTS), hovermode="closest", margin={"t": 56, "r": 130})
    axis = style.step_axis(data["step"])
    figure.update_xaxes(**{**axis, "title": None, "showticklabels": False, "ticks": ""}, row=1, col=1)
    figure.update_xaxes(**axis, row=2, col=1)
    figure.update_yaxes(showgrid=False, ticks="", row=2, col=1)
    figure.update_layout(legend={"tracegroupgap": 2, "x": 1.01, "y": 1})
    if buttons:
        figure.update_layout({name.replace(".", "_"): value for name, value in buttons[0][1].items()})
        figure.update_layout(updatemenus=[style.dropdown(menu)])
    return figure


def parts_section(material: Material) -> Section | str:
    """The section of the page, or why there is none."""
    data = parts_data(material.table)
    if not data["value"].notna().any():
        return "no behaviour was measured by digit, sub-task or group"
    text = (
        "One colour a part (a token of the answer, a sub-task, a group of prompts), one line a run. Below, one row a "
        "part with its jumps in each run, from the last checkpoint under 10 % of the rise to the first over 90 %: "
        "parts that jump at times of their own have their bars side by side, not above each other."
    )
    if data["run"].nunique() > MAX_RUNS:
        text += f" {MAX_RUNS} of the {data['run'].nunique()} runs are drawn, evenly chosen."
    figure = parts_figure(material.table, material.jumps)
    return section(
        "parts",
        "Parts",
        _answer(data, parts_jumps(material.jumps)),
        caption(text) + figure_html("fig-parts", figure),
        parts=data,
        part_jumps=parts_jumps(material.jumps),
    )


def _answer(data: pd.DataFrame, events: pd.DataFrame) -> str:
    jumped = len(events[["task", "measure", "part", "run"]].drop_duplicates())
    return f"{jumped} of {len(data[['task', 'measure', 'part', 'run']].drop_duplicates())} curves of parts jumped"


def _part(component: str, position: Any) -> str:
    return " ".join([*([component] if component else []), *([f"token {int(position)}"] if position != "" else [])])


def _in_order(part: str) -> list[Any]:
    """Numbers in names count as numbers."""
    return [int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", part)]


def _even(names: Sequence[str], most: int) -> list[str]:
    places = np.unique(np.linspace(0, len(names) - 1, min(len(names), most)).round().astype(int))
    return [names[i] for i in places] if names else []


def _ordered(data: pd.DataFrame) -> list[tuple[str, str]]:
    """(task, measure): shares first, then by name."""
    pairs = data[["task", "measure", "unit"]].drop_duplicates(["task", "measure"])
    return sorted(
        ((str(row.task), str(row.measure)) for row in rows_of(pairs)),
        key=lambda curve: (curve[1] not in set(pairs.loc[pairs["unit"] == "share", "measure"]), curve),
    )


def _traces(data: pd.DataFrame, events: pd.DataFrame, parts: list[str], zero: float) -> list[tuple[go.Scatter, int]]:
    """Two traces a part: its curves, and its jump intervals in the row of the part."""
    runs = sorted(data["run"].unique())
    traces = []
    for place, (part, colour) in enumerate(zip(parts, style.ramp(len(parts)), strict=True)):
        x: list[float] = []
        y: list[float] = []
        text: list[str] = []
        bars: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
        for number, run in enumerate(runs):
            curve = data[(data["run"] == run) & (data["part"] == part)]
            x += [*style.placed(curve["step"].to_numpy(float), zero), np.nan]
            y += [*curve["value"], np.nan]
            text += [f"{part}, {run}<br>step {style.number(step)}" for step in curve["step"]] + [""]
            for event in rows_of(events[(events["run"] == run) & (events["part"] == part)]):
                before, after = event.step_before, event.step_after
                note = f"{part}, {run}<br>{event.kind} between steps {style.number(before)} and {style.number(after)}"
                height = len(parts) - 1 - place + 0.5 * (0.5 - (number + 0.5) / len(runs))
                bars["x"] += [*style.placed([before, after], zero), None]
                bars["y"] += [height, height, None]
                bars["text"] += [note, note, ""]
        common = {"legendgroup": part, "mode": "lines"}
        line = go.Scatter(
            x=np.array(x, dtype=np.float32),
            y=np.array(y, dtype=np.float32),
            text=text,
            name=part,
            line={"color": colour, "width": 1.8},
            hovertemplate="%{text}<br>%{y:.4~g}<extra></extra>",
            **common,
        )
        width = 5 if len(runs) <= 3 else 3
        bar = go.Scatter(
            **bars,
            line={"color": colour, "width": width},
            showlegend=False,
            hovertemplate="%{text}<extra></extra>",
            **common,
        )
        traces += [(line, 1), (bar, 2)]
    return traces


def _axes(data: pd.DataFrame, parts: list[str]) -> dict[str, Any]:
    """The layout that belongs to one measure."""
    measure, unit = str(data["measure"].iloc[0]), str(data["unit"].iloc[0])
    share = unit == "share"
    return {
        "yaxis.title.text": style.pretty(measure) + ("" if share or not unit else f" ({unit})"),
        "yaxis.autorange": not share,
        **({"yaxis.range": [-0.03, 1.04]} if share else {}),
        "yaxis.tickformat": ".0%" if share else "",
        "yaxis2.range": [-0.6, len(parts) - 0.4],
        "yaxis2.tickvals": list(range(len(parts)))[::-1],
        "yaxis2.ticktext": parts,
        "yaxis2.title.text": "jumps, by run",
    }
