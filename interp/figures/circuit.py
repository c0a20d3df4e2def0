"""A circuit as a drawing: layers up, heads across, edge width by |score|, sign by colour, a slider to watch it form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from interp.figures import style
from interp.figures.places import is_head, layer_ticks, names_of, node_of, places_of, short_name, x_range
from interp.figures.scores import Scores, frames

MAX_EDGES = 150
MAX_EDGES_FRAME = 60
MAX_FRAMES = 48
MIN_FRAMES = 12
WIDTHS = (0.6, 1.4, 2.6, 4.2, 6.5)


def draw_circuit(
    circuit: Any, *, title: str = "", marks: Mapping[float, str] | None = None, max_edges: int | None = None
) -> go.Figure:
    """A circuit, or a trajectory of circuits with a slider over its steps.

    circuit: a circuit (an object with `to_json`, its JSON, a file), `{step: circuit}` or a sequence of (step, circuit);
        see `interp.figures.scores` for the forms. Circuits with node scores only are drawn without edges.
    marks: words for some steps of a trajectory (`{600: "before the jump"}`).
    max_edges: the strongest edges to draw, for each step (150; 60 where there are several steps).

    Widths and colours share one scale over the trajectory. Edges to q, k and v of a head are drawn as one, the slot is
    in the hover. Beyond 48 steps an even choice of them is drawn, with those that have marks.
    """
    figure = draw_circuits({title: circuit}, marks={title: marks or {}}, max_edges=max_edges)
    if title:
        figure.update_layout(title={"text": escape(title), "font": {"size": 14}, "x": 0.0, "xref": "paper"})
    return figure


def draw_circuits(
    circuits: Mapping[str, Any],
    *,
    marks: Mapping[str, Mapping[float, str]] | None = None,
    max_edges: int | None = None,
    beside: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    beside_title: str = "",
) -> go.Figure:
    """Several of what `draw_circuit` draws, by name, with a selector; the first is shown. Widths and colours share one
    scale over all of them (`interp.figures.style.end_of_scale`), and they share the number of steps that are drawn.

    beside: (steps, values) of a curve for each, such as its behaviour, drawn below with a line at the circuit's step.
    """
    marks = marks or {}
    n_frames = max(MIN_FRAMES, MAX_FRAMES // len(circuits))
    pairs = {name: _chosen(frames(one), n_frames, marks.get(name, {})) for name, one in circuits.items()}
    scores = [one for trajectory in pairs.values() for _, one in trajectory]
    top_node, top_edge = (
        style.end_of_scale(
            max((abs(v) for _, s in one for v in s[kind].values()), default=0.0) for one in pairs.values()
        )
        or 1.0
        for kind in (0, 1)
    )
    limit = max_edges or (MAX_EDGES if len(scores) == 1 else MAX_EDGES_FRAME)
    curves = {name: (beside or {}).get(name, ((), ())) for name in pairs}
    zero = style.zero_place([step for steps, _ in curves.values() for step in steps])
    views = {
        name: _view(trajectory, marks.get(name, {}), top_node, top_edge, limit, _Beside(*curves[name], zero))
        for name, trajectory in pairs.items()
    }
    first = next(iter(views.values()))
    figure = go.Figure(first.traces)
    height = max(view.height for view in views.values())
    style.styled(figure, height=height, margin={"t": 48, "b": 40, "l": 70}, hovermode="closest")
    figure.update_xaxes(visible=False)
    figure.update_yaxes(showgrid=False, ticks="", showline=False)
    figure.update_layout({name.replace(".", "_"): value for name, value in first.layout.items()})
    figure.update_layout(legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"})
    if beside:
        _below(figure, curves, beside_title)
    if len(views) > 1:
        buttons = [
            {"label": escape(name), "method": "update", "args": [_data(view.traces), view.layout]}
            for name, view in views.items()
        ]
        figure.update_layout(updatemenus=[style.dropdown(buttons)])
    return figure


class _Beside(NamedTuple):
    """A curve that stands below a circuit, and where its steps at or below 0 are."""

    steps: Sequence[float]
    values: Sequence[float]
    zero: float

    def traces(self, step: float) -> list[go.Scatter]:
        """A line at the step, then the curve itself."""
        if not len(self.steps):
            return []
        low, high = float(np.nanmin(self.values)), float(np.nanmax(self.values))
        here = style.placed([step, step], self.zero)
        common = {"xaxis": "x2", "yaxis": "y2", "mode": "lines", "showlegend": False}
        at = go.Scatter(x=here, y=[low, high], line={"color": style.ACCENT, "width": 2}, hoverinfo="skip", **common)
        curve = go.Scatter(
            x=style.placed(np.asarray(self.steps, dtype=float), self.zero).astype(np.float32),
            y=np.asarray(self.values, dtype=np.float32),
            text=[f"step {style.number(one)}" for one in self.steps],
            line={"color": style.INK, "width": 1.5},
            hovertemplate="%{text}<br>%{y:.4~g}<extra></extra>",
            **common,
        )
        return [at, curve]


def _below(figure: go.Figure, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str) -> None:
    """Room for the curves under the circuit."""
    height = figure.layout.height + 130
    share = 90 / (height - 90)
    axis = style.step_axis([step for steps, _ in curves.values() for step in steps])
    figure.update_layout(height=height, yaxis={"domain": [share + 60 / height, 1]}, xaxis={"anchor": "y"})
    figure.update_layout(
        xaxis2={**axis, "anchor": "y2", "title": None},
        yaxis2={"domain": [0, share], "anchor": "x2", "title": {"text": title}},
    )


class _View(NamedTuple):
    """One trajectory: what is drawn of its last step, and the layout that goes with it, slider included."""

    traces: list[go.Scatter]
    layout: dict[str, Any]
    height: int


def _view(
    pairs: Sequence[tuple[float, Scores]],
    marks: Mapping[float, str],
    top_node: float,
    top_edge: float,
    limit: int,
    beside: _Beside,
) -> _View:
    places = places_of([name for _, scores in pairs for name in names_of(scores)])
    drawn = [[*_traces(scores, places, top_node, top_edge, limit), *beside.traces(step)] for step, scores in pairs]
    rows = sorted({y for _, y in places.values()})
    layout: dict[str, Any] = {"xaxis.range": x_range(places), "yaxis.range": [rows[0] - 0.7, rows[-1] + 0.7]}
    layout |= {f"yaxis.{name}": value for name, value in layer_ticks(places).items()}
    layout["sliders"] = [_slider([step for step, _ in pairs], drawn, marks)] if len(pairs) > 1 else []
    height = np.clip(160 + 74 * len(rows), 320, max(860, 44 * len(rows)))  # many layers: no closer than nodes are tall
    return _View(traces=drawn[-1], layout=layout, height=int(height))


def _chosen(pairs: list[tuple[float, Scores]], n_frames: int, marks: Mapping[float, str]) -> list[tuple[float, Scores]]:
    """An even choice of the steps, and those that have marks."""
    even = np.linspace(0, len(pairs) - 1, min(len(pairs), n_frames)).round().astype(int)
    return [pair for place, pair in enumerate(pairs) if place in even or pair[0] in marks]


def circuit_data(circuit: Any) -> pd.DataFrame:
    """The data of `draw_circuit`: step (NaN for one circuit), kind (node, edge), source, target, score."""
    rows: list[tuple[Any, ...]] = []
    for step, (nodes, edges) in frames(circuit):
        rows += [(step, "node", name, "", value) for name, value in nodes.items()]
        rows += [(step, "edge", source, target, value) for (source, target), value in edges.items()]
    return pd.DataFrame(rows, columns=["step", "kind", "source", "target", "score"])


def _traces(
    scores: Scores, places: Mapping[str, tuple[float, float]], top: float, top_edge: float, limit: int
) -> list[go.Scatter]:
    """Always the same number of traces, so that a slider can exchange their data."""
    nodes, edges = scores
    merged: dict[tuple[str, str], dict[str, float]] = {}
    for (source, target), value in edges.items():
        merged.setdefault((node_of(source), node_of(target)), {})[target] = value
    strongest = sorted(merged.items(), key=lambda item: -max(map(abs, item[1].values())))[:limit]
    lines: dict[tuple[bool, int], tuple[list[Any], list[Any]]] = {
        (sign, width): ([], []) for sign in (True, False) for width in range(len(WIDTHS))
    }
    hover: tuple[list[float], list[float], list[str]] = ([], [], [])
    for (source, target), slots in strongest:
        value = max(slots.values(), key=abs)
        x, y = _curve(places[source], places[target])
        bin_ = min(int(np.sqrt(abs(value) / top_edge) * len(WIDTHS)), len(WIDTHS) - 1)
        line = lines[(value >= 0, bin_)]
        line[0].extend([*x, None])
        line[1].extend([*y, None])
        hover[0].append(x[len(x) // 2])
        hover[1].append(y[len(y) // 2])
        hover[2].append(
            "<br>".join(f"{escape(source)} → {escape(slot)}: {score:+.3g}" for slot, score in slots.items())
        )
    traces = [
        go.Scatter(
            x=x,
            y=y,
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
            opacity=0.35 + 0.13 * width,
            line={"width": WIDTHS[width], "color": style.HELPS if sign else style.HURTS},
        )
        for (sign, width), (x, y) in lines.items()
    ]
    dots = go.Scatter(
        x=hover[0],
        y=hover[1],
        text=hover[2],
        mode="markers",
        marker={"size": 9, "color": "rgba(0,0,0,0)"},
        showlegend=False,
        hovertemplate="%{text}<extra></extra>",
    )
    return [*_legend(), *traces, dots, _node_trace(nodes, merged, places, top)]


def _legend() -> list[go.Scatter]:
    """Two entries without data: they stay while the slider exchanges the lines."""
    pairs = (("helps", style.HELPS), ("hurts", style.HURTS))
    return [
        go.Scatter(x=[None], y=[None], mode="lines", name=name, line={"color": colour, "width": 4})
        for name, colour in pairs
    ]


def _node_trace(
    nodes: Mapping[str, float],
    merged: Mapping[tuple[str, str], Any],
    places: Mapping[str, tuple[float, float]],
    top: float,
) -> go.Scatter:
    used = {end for edge in merged for end in edge} | set(nodes)
    names = list(places)
    values = [nodes.get(name, 0.0) for name in names]
    text = [f"{escape(name)}" + (f": {nodes[name]:+.3g}" if name in nodes else "") for name in names]
    return go.Scatter(
        x=[places[name][0] for name in names],
        y=[places[name][1] for name in names],
        mode="markers+text",
        text=[short_name(n) for n in names],
        hovertext=text,
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
        cliponaxis=False,
        textfont={"size": 10, "color": [_text_colour(v, top) for v in values]},
        marker={
            "symbol": ["circle" if is_head(name) else "square" for name in names],
            "size": 34,
            "color": values,
            "cmin": -top,
            "cmax": top,
            "colorscale": style.SIGNED,
            "opacity": [1.0 if name in used else 0.35 for name in names],
            "line": {"color": style.MUTED, "width": 1},
        },
    )


def _text_colour(value: float, top: float) -> str:
    return style.PAPER if abs(value) > 0.62 * top else style.INK


def _curve(start: tuple[float, float], end: tuple[float, float], n: int = 9) -> tuple[list[float], list[float]]:
    """A quadratic Bézier, bent aside where the edge passes over other rows or runs inside a column."""
    (x0, y0), (x1, y1) = start, end
    bend = 0.16 * max(abs(y1 - y0) - 1.0, 0.0) * (1 if (x0 + x1) % 2 < 1 else -1)
    cx, cy = (x0 + x1) / 2 + bend, (y0 + y1) / 2
    t = np.linspace(0, 1, n)
    x = (1 - t) ** 2 * x0 + 2 * t * (1 - t) * cx + t**2 * x1
    y = (1 - t) ** 2 * y0 + 2 * t * (1 - t) * cy + t**2 * y1
    return x.round(3).tolist(), y.round(3).tolist()


def _slider(steps: list[float], drawn: list[list[go.Scatter]], marks: Mapping[float, str]) -> dict[str, Any]:
    entries = []
    for step, traces in zip(steps, drawn, strict=True):
        label = style.number(step) + (f" ({escape(marks[step])})" if step in marks else "")
        moving = [trace for trace in traces if trace.line.color != style.INK]  # all but the curve below, which stays
        entries.append({"label": label, "method": "restyle", "args": [_data(moving), list(range(len(moving)))]})
    return style.slider(entries, active=len(entries) - 1)


def _data(traces: Sequence[go.Scatter]) -> dict[str, Any]:
    """What differs between two drawings, trace by trace."""
    return {
        "x": [trace.x for trace in traces],
        "y": [trace.y for trace in traces],
        "text": [trace.text for trace in traces],
        "hovertext": [trace.hovertext for trace in traces],
        "marker.symbol": [trace.marker.symbol for trace in traces],
        "marker.color": [trace.marker.color for trace in traces],
        "marker.opacity": [trace.marker.opacity for trace in traces],
        "textfont.color": [trace.textfont.color for trace in traces],
    }
