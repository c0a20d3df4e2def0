"""The circuit forming: the patching effect of every component at every checkpoint."""

from __future__ import annotations

import re
from collections.abc import Collection
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from interp import plugins
from interp.figures import style
from interp.report.outcomes import as_table, outcomes, run_styles, target_curves
from interp.report.rows import rows_of

MAX_CURVES = 12
MAX_STEPS = 72
_COMPONENT = re.compile(r"L(\d+)(?:H(\d+)|\.(\w+))?$")
COLUMNS = ["run", "task", "step", "component", "layer", "part", "value"]


def heatmap_measure(table: pd.DataFrame) -> str | None:
    """The measure to draw: `patching`, else the first circuit method whose node scores are in the table."""
    there = set(table.loc[table["component"] != "", "measure"].unique())
    methods = (name.replace("_", "-") for name in plugins.names("circuits"))
    return next((name for name in ("patching", *methods) if name in there), None)


def heatmap_data(table: Any, *, measure: str = "patching") -> pd.DataFrame:
    """The data of `heatmap_figure`: run, task, step, component, layer (−1: embedding), part (`H3`, `mlp`, `attn`,
    …), value.

    Effects at several token positions are summed. Components that are edges, or no place in a model, are left out.
    """
    table = as_table(table)
    rows = table[(table["measure"] == measure) & table["component"].notna()].copy()
    places = {name: _place(str(name)) for name in rows["component"].unique()}
    rows = rows[[places[name] is not None for name in rows["component"]]]
    if rows.empty:
        return pd.DataFrame(columns=COLUMNS)
    rows["layer"] = [places[name][0] for name in rows["component"]]  # type: ignore[index]
    rows["part"] = [places[name][1] for name in rows["component"]]  # type: ignore[index]
    keys = COLUMNS[:-1]
    return rows.groupby(keys, sort=True)["value"].sum(min_count=1).reset_index()


def heatmap_limit(data: pd.DataFrame) -> float:
    """The end of the colour scale: of each run all but the strongest .5 %, then `interp.figures.style.end_of_scale`."""
    return max(style.end_of_scale(data["value"].abs().groupby([data["run"], data["task"]]).quantile(0.995)), 1e-3)


def heatmap_figure(
    table: Any, jumps: Any = None, *, measure: str = "patching", controls: Collection[str] | None = None
) -> go.Figure:
    """Left: components × checkpoints of one run (log steps), its jump interval between the accent lines. Right: the
    same effects at one step, heads × layers. A selector chooses the run and task, a slider the step (which the dark
    line on the left follows).

    At most 12 runs (one of each size and setting first) and 72 checkpoints of each are drawn.
    """
    table = as_table(table)
    data = heatmap_data(table, measure=measure)
    if data.empty:
        return style.styled(go.Figure(), height=200)
    styles = run_styles(table, controls)
    intervals = _intervals(table, jumps)
    zero = style.zero_place(data["step"])
    components = _ordered(data)
    limit = heatmap_limit(data)
    curves = _chosen(data, styles)
    figure = make_subplots(rows=1, cols=2, column_widths=[0.66, 0.34], horizontal_spacing=0.1)
    views = [_view(data, run, task, components, zero, intervals.get((run, task))) for run, task in curves]
    for place, view in enumerate(views):
        figure.add_trace(view["heat"].update(visible=place == 0), row=1, col=1)
        figure.add_trace(view["grid"].update(visible=place == 0), row=1, col=2)
    figure.update_traces(coloraxis="coloraxis")
    sliders = [_slider(view, trace=2 * place + 1) for place, view in enumerate(views)]
    buttons = [
        {
            "label": _name(run, task, several_tasks=data["task"].nunique() > 1),
            "method": "update",
            "args": [
                {"visible": [trace // 2 == place for trace in range(2 * len(views))]},
                {"sliders": [sliders[place]], "shapes": views[place]["shapes"], "xaxis.range": views[place]["range"]},
            ],
        }
        for place, (run, task) in enumerate(curves)
    ]
    _axes(figure, components, views[0], data)
    height = 250 + int(np.clip(18 * len(components), 200, 560))
    style.styled(figure, height=height, margin={"t": 56, "b": 40, "r": 90}, hovermode="closest")
    return figure.update_layout(
        coloraxis={
            "colorscale": style.SIGNED,
            "cmin": -limit,
            "cmax": limit,
            "cmid": 0,
            "colorbar": {
                "title": {"text": f"{style.pretty(measure)}<br>effect", "font": {"size": 12}},
                "thickness": 12,
                "x": 1.02,
            },
        },
        sliders=[sliders[0]],
        shapes=views[0]["shapes"],
        updatemenus=[style.dropdown(buttons)] if len(buttons) > 1 else [],
    )


def _place(component: str) -> tuple[int, str] | None:
    """(layer, part): L2H3 → (2, "H3"), L2.mlp → (2, "mlp"), L2 → (2, "layer"), embed → (−1, "embed")."""
    if component in ("embed", "logits"):
        return (-1, "embed") if component == "embed" else None
    found = _COMPONENT.fullmatch(component)
    if not found:
        return None
    return int(found[1]), f"H{found[2]}" if found[2] else found[3] or "layer"


def _part_order(part: str) -> tuple[int, int, str]:
    """Heads by number, then the rest by name."""
    return (0, int(part[1:]), "") if re.fullmatch(r"H\d+", part) else (1, 0, part)


def _ordered(data: pd.DataFrame) -> list[str]:
    """Components from the embedding up, heads before the MLP of their layer."""
    there = data[["component", "layer", "part"]].drop_duplicates()
    rows = sorted(rows_of(there), key=lambda row: (row.layer, _part_order(row.part)))
    return [str(row.component) for row in rows]


def _chosen(data: pd.DataFrame, styles: dict[str, Any]) -> list[tuple[str, str]]:
    """One run of every group first, then the second of each, up to the limit; drawn in the groups' order."""
    pairs = data[["run", "task"]].drop_duplicates()
    seen: dict[tuple[str, str], int] = {}
    ranked = []
    for row in sorted(rows_of(pairs), key=lambda row: (str(row.task), styles[row.run].order, str(row.run))):
        group = (styles[row.run].label, str(row.task))
        ranked.append((seen.get(group, 0), styles[row.run].order, str(row.task), str(row.run)))
        seen[group] = seen.get(group, 0) + 1
    kept = sorted(ranked)[:MAX_CURVES]
    return [(run, task) for _, _, task, run in sorted(kept, key=lambda row: (row[2], row[1], row[3]))]


def _name(run: str, task: str, *, several_tasks: bool) -> str:
    return escape(f"{run} · {task}" if several_tasks else run)


def _intervals(table: pd.DataFrame, jumps: Any) -> dict[tuple[str, str], tuple[float, float]]:
    found = {}
    for task, measure in target_curves(table):
        for row in rows_of(outcomes(table, jumps, task, measure)):
            if row.jumped:
                found[(row.run, task)] = (row.step_before, row.step_after)
    return found


def _view(
    data: pd.DataFrame, run: str, task: str, components: list[str], zero: float, interval: tuple[float, float] | None
) -> dict[str, Any]:
    """All that one entry of the selector shows: the two traces, the grids of every step, the shapes, the x range."""
    part = data[(data["run"] == run) & (data["task"] == task)]
    values = part.pivot(index="component", columns="step", values="value").reindex(components)
    kept = np.unique(np.linspace(0, values.shape[1] - 1, min(values.shape[1], MAX_STEPS)).round().astype(int))
    values = values.iloc[:, kept]
    steps = values.columns.to_numpy(float)
    edges = _edges(style.placed(steps, zero))
    layers, parts = _grid_axes(data)
    wanted = [step for step in steps if interval and step >= interval[1]]
    active = int(np.flatnonzero(steps == (wanted[0] if wanted else steps[-1]))[0])
    text = np.array([[f"step {style.number(step)}" for step in steps]] * len(components))
    heat = go.Heatmap(
        x=edges,
        y=list(range(len(components))),
        z=values.to_numpy(np.float32),
        text=text,
        customdata=[[c] * len(steps) for c in components],
        hovertemplate="%{customdata}, %{text}<br>effect %{z:.3f}<extra></extra>",
        hoverongaps=False,
    )
    cells = data.drop_duplicates("component").set_index("component").loc[components, ["layer", "part"]]
    grids = [_grid(column, cells, layers, parts) for column in values.to_numpy(float).T]
    grid = go.Heatmap(
        x=parts,
        y=[_layer_name(layer) for layer in layers],
        z=grids[active],
        xgap=2,
        ygap=2,
        hoverongaps=False,
        hovertemplate="layer %{y}, %{x}<br>effect %{z:.3f}<extra></extra>",
    )
    lines = [_line(float(edge), style.ACCENT, 1.4, "dash") for edge in style.placed(interval or (), zero)]
    bounds = [float(np.log10(edges[0])), float(np.log10(edges[-1]))]
    marks = [_line(float(x), style.INK, 1.6, "solid") for x in style.placed(steps, zero)]
    return {
        "heat": heat,
        "grid": grid,
        "grids": grids,
        "steps": steps,
        "active": active,
        "marks": marks,
        "shapes": [marks[active], *lines],
        "range": bounds,
    }


def _edges(places: np.ndarray) -> np.ndarray:
    """Cell edges around the checkpoints, halfway between neighbours in log step."""
    logs = np.log(places)
    if len(logs) == 1:
        return np.exp([logs[0] - 0.5, logs[0] + 0.5])
    middle = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.r_[2 * logs[0] - middle[0], middle, 2 * logs[-1] - middle[-1]])


def _grid_axes(data: pd.DataFrame) -> tuple[list[int], list[str]]:
    """Layers and the parts of a layer; the embedding has no place in the grid unless there is nothing else."""
    inside = data[data["layer"] >= 0] if (data["layer"] >= 0).any() else data
    return sorted(inside["layer"].unique()), sorted(inside["part"].unique(), key=_part_order)


def _layer_name(layer: int) -> str:
    return "embed" if layer < 0 else f"layer {layer}"


def _grid(values: np.ndarray, cells: pd.DataFrame, layers: list[int], parts: list[str]) -> list[list[float | None]]:
    """Values of the components as layers × parts, three digits, None where there is no such component."""
    grid: list[list[float | None]] = [[None] * len(parts) for _ in layers]
    for value, layer, part in zip(values, cells["layer"], cells["part"], strict=True):
        if layer in layers and not np.isnan(value):
            grid[layers.index(layer)][parts.index(part)] = float(f"{value:.3g}")
    return grid


def _line(x: float, colour: str, width: float, dash: str) -> dict[str, Any]:
    line = {"color": colour, "width": width, "dash": dash}
    return {"type": "line", "xref": "x", "yref": "y domain", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line}


def _slider(view: dict[str, Any], *, trace: int) -> dict[str, Any]:
    steps = [
        {
            "label": style.number(step),
            "method": "update",
            "args": [{"z": [grid]}, {"shapes[0].x0": mark["x0"], "shapes[0].x1": mark["x0"]}, [trace]],
        }
        for step, grid, mark in zip(view["steps"], view["grids"], view["marks"], strict=True)
    ]
    return style.slider(steps, active=view["active"])


def _axes(figure: go.Figure, components: list[str], view: dict[str, Any], data: pd.DataFrame) -> None:
    every = 1 if len(components) <= 32 else -(-len(components) // 24)
    shown = list(range(0, len(components), every))
    axis = style.step_axis(data["step"], title="training step (log scale)")
    figure.update_xaxes(**{**axis, "range": view["range"], "showgrid": False}, row=1, col=1)
    figure.update_yaxes(tickvals=shown, ticktext=[components[i] for i in shown], showgrid=False, row=1, col=1)
    figure.update_xaxes(title="component at the chosen step", showgrid=False, ticks="", type="category", row=1, col=2)
    figure.update_yaxes(showgrid=False, ticks="", type="category", row=1, col=2)
