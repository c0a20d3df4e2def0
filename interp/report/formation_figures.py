"""Formation drawn: the intervals of all runs beside their jumps, and one run's circuit, checkpoint by checkpoint."""

from __future__ import annotations

from collections.abc import Collection
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from interp.figures import style
from interp.report.formation import HINDSIGHT, ROLE, TRANSFER
from interp.report.outcomes import as_table, run_styles
from interp.report.rows import rows_of
from interp.table.forming import THRESHOLD

MAX_RUNS = 40
MAX_TRAJECTORIES = 16
LINES = {  # quantity: (panel, name, colour, dash)
    "behaviour": (1, "behaviour", style.ACCENT, "solid"),
    "carried": (1, "prompts carried by the circuit", style.HELPS, "solid"),
    "whole": (1, "prompts carried by the whole model", style.HELPS, "dot"),
    "inherited": (1, "prompts that the circuit before still carries", style.MUTED, "dash"),
    "strict": (1, "prompts answered by the circuit alone", style.SETTING_COLOURS[1], "solid"),
    HINDSIGHT: (1, "final circuit, applied backwards (hindsight)", style.GREY, "dot"),
    TRANSFER: (1, "another run's circuit, faithfulness", style.SETTING_COLOURS[2], "dash"),
    "similarity": (2, "similar to the checkpoint before", style.HELPS, "solid"),
    "noise_floor": (2, "noise floor: similar on other prompts", style.MUTED, "dash"),
    "edges": (2, "edges for 80 % faithfulness, share of all", style.SETTING_COLOURS[1], "solid"),
}
ROLE_COLOURS = ("#0072b2", "#cc79a7", "#009e73", "#8c6d31", "#56b4e9")


def formation_figure(data: pd.DataFrame, table: Any, *, controls: Collection[str] | None = None) -> go.Figure:
    """Three bars a run: the circuit's formation interval, with its band as a thin line, the same by the strict criterion, and
    the jump of the behaviour.
    Open triangles: followed to there without a formation, or a jump.

    data: `formation_data`. At most 40 runs, evenly chosen.
    """
    styles = run_styles(as_table(table), controls)
    several = data["task"].nunique() > 1
    ordered = sorted(rows_of(data), key=lambda row: (str(row.task), styles[row.run].order, str(row.run)))
    kept = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), MAX_RUNS)).round().astype(int))
    rows = [ordered[i] for i in kept]
    zero = style.zero_place(as_table(table)["step"])
    height = {id(row): float(len(rows) - 1 - place) for place, row in enumerate(rows)}
    figure = go.Figure()
    for name, colour, lift, ends, width in (
        ("circuit: 95 % band", style.see_through(style.HELPS, 0.45), 0.17, ("band_before", "band_after"), 2),
        ("circuit formed", style.HELPS, 0.17, ("formed_before", "formed_after"), 8),
        ("circuit answers alone (strict)", style.SETTING_COLOURS[1], 0.0, ("strict_before", "strict_after"), 4),
        ("behaviour jumped", style.ACCENT, -0.17, ("jump_before", "jump_after"), 8),
    ):
        bars = [(row, getattr(row, ends[0]), getattr(row, ends[1])) for row in rows]
        figure.add_trace(_bars([b for b in bars if b[2] == b[2]], height, lift, zero, name, colour, width))
        if width > 2:
            figure.add_trace(_open([row for row, _, last in bars if last != last], height, lift, zero, name, colour))
    figure.update_xaxes(**style.step_axis(as_table(table)["step"]))
    names = [f"{row.run} · {row.task}" if several else str(row.run) for row in rows]
    labels = [escape(style.shortened(name, 40)) for name in names]
    figure.update_yaxes(
        tickvals=[height[id(row)] for row in rows],
        ticktext=labels,
        showgrid=False,
        ticks="",
        range=[-0.7, len(rows) - 0.3],
    )
    legend = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"}
    return style.styled(figure, height=150 + 30 * len(rows), margin={"t": 44}, hovermode="closest", legend=legend)


def trajectory_figure(
    data: pd.DataFrame, found: pd.DataFrame, table: Any, *, controls: Collection[str] | None = None
) -> go.Figure:
    """One run's circuit over the steps, with a selector of runs: what it carries beside the behaviour; how alike it is
    to the checkpoint before, beside the noise floor, and how large; the roles of heads. The bands are the formation
    interval and the jump.

    data, found: `trajectory_data` and `formation_data`. At most 16 runs.
    """
    styles = run_styles(as_table(table), controls)
    order = sorted(rows_of(found), key=lambda row: (styles[row.run].order, str(row.task), str(row.run)))[
        :MAX_TRAJECTORIES
    ]
    roles = [name for name in sorted(data["quantity"].unique()) if name.startswith(ROLE)]
    n_rows = 3 if roles else 2
    figure = make_subplots(rows=n_rows, cols=1, shared_xaxes=True, vertical_spacing=0.05)
    zero = style.zero_place(data["step"])
    owners: list[int] = []
    for place, row in enumerate(order):
        part = data[(data["run"] == row.run) & (data["task"] == row.task)]
        traces = _lines(part, roles, zero)
        for trace, panel in traces:
            figure.add_trace(trace.update(visible=place == 0), row=panel, col=1)
        owners += [place] * len(traces)
    bands = [_bands(row, zero, n_rows) for row in order]
    buttons = [
        {
            "label": escape(f"{row.run} · {row.task}" if found["task"].nunique() > 1 else str(row.run)),
            "method": "update",
            "args": [{"visible": [owner == place for owner in owners]}, {"shapes": bands[place]}],
        }
        for place, row in enumerate(order)
    ]
    axis = style.step_axis(data["step"])
    figure.update_xaxes(**{**axis, "title": None})
    figure.update_xaxes(title=axis["title"], row=n_rows, col=1)
    for panel, title in enumerate(("share", "share", "attention<br>of the best head")[:n_rows], start=1):
        figure.update_yaxes(title={"text": title}, rangemode="tozero", row=panel, col=1)
    figure.update_yaxes(range=[-0.04, 1.08], row=1, col=1)
    style.styled(figure, height=210 + 200 * n_rows, margin={"t": 56, "r": 330}, hovermode="closest")
    for which in ("", "2", "3")[:n_rows]:
        beside = {"x": 1.01, "y": figure.layout[f"yaxis{which}"].domain[1], "yanchor": "top"}
        figure.update_layout({f"legend{which}": beside})
    figure.update_layout(shapes=bands[0])
    if len(buttons) > 1:
        figure.update_layout(updatemenus=[style.dropdown(buttons)])
    return figure


def _bars(
    bars: list[tuple[Any, float, float]],
    height: dict[int, float],
    lift: float,
    zero: float,
    name: str,
    colour: str,
    width: int,
) -> go.Scatter:
    x: list[Any] = []
    y: list[Any] = []
    text: list[str] = []
    for row, before, after in bars:
        start = row.first_step if before != before else before
        note = f"{escape(str(row.run))}<br>{name}: " + between(before, after)
        x += [*style.placed([start, after], zero), None]
        y += [height[id(row)] + lift] * 2 + [None]
        text += [note, note, ""]
    line = {"color": colour, "width": width}
    template = "%{text}<extra></extra>"
    return go.Scatter(x=x, y=y, text=text, mode="lines", name=name, legendgroup=name, line=line, hovertemplate=template)


def _open(rows: list[Any], height: dict[int, float], lift: float, zero: float, name: str, colour: str) -> go.Scatter:
    return go.Scatter(
        x=style.placed([row.last_step for row in rows], zero),
        y=[height[id(row)] + lift for row in rows],
        text=[f"{escape(str(row.run))}<br>not: {name}" for row in rows],
        mode="markers",
        legendgroup=name,
        showlegend=False,
        marker={"symbol": "triangle-right-open", "size": 9, "color": colour, "line": {"width": 1.5}},
        hovertemplate="%{text}<extra></extra>",
    )


def between(before: float, after: float) -> str:
    """An interval of steps in words."""
    if after != after:
        return "not"
    if before != before:
        return f"there at step {style.number(after)}, the first looked at"
    return f"between steps {style.number(before)} and {style.number(after)}"


def _lines(part: pd.DataFrame, roles: list[str], zero: float) -> list[tuple[go.Scatter, int]]:
    """The curves of one run, with the panel of each; the behaviour is put on 0 to 1 where it is no share."""
    kinds = {
        **LINES,
        **{name: (3, name.removeprefix(ROLE), ROLE_COLOURS[i % 5], "solid") for i, name in enumerate(roles)},
    }
    traces = []
    for quantity, (panel, name, colour, dash) in kinds.items():
        curve = part[(part["quantity"] == quantity) & part["value"].notna()]
        if curve.empty:
            continue
        values = curve["value"].to_numpy(float)
        if quantity == "behaviour" and (values.min() < 0 or values.max() > 1):
            values, name = (values - values.min()) / np.ptp(values), f"{name}, rescaled to its own range"
        steps = curve["step"].to_numpy(float)
        notes = [
            f"step {style.number(step)}: {style.number(value)}{f' ({head})' if head else ''}"
            for step, value, head in zip(steps, curve["value"], curve["head"], strict=True)
        ]
        line = go.Scatter(
            x=style.placed(steps, zero).astype(np.float32),
            y=(values.clip(-0.04, 1.08) if panel == 1 else values).astype(np.float32),
            text=[escape(note) for note in notes],
            mode="lines+markers",
            marker={"size": 4},
            name=escape(name),
            legend=f"legend{panel}" if panel > 1 else "legend",
            line={"color": colour, "dash": dash, "width": 2 if quantity in ("behaviour", "carried") else 1.5},
            hovertemplate=f"{escape(name)}<br>%{{text}}<extra></extra>",
        )
        traces.append((line, panel))
    return traces


def _bands(row: Any, zero: float, n_rows: int) -> list[dict[str, Any]]:
    """The formation interval and the jump of a run behind every panel, and the share at which a circuit has formed."""
    shapes: list[dict[str, Any]] = []
    spans = [
        (
            row.first_step if row.formed_before != row.formed_before else row.formed_before,
            row.formed_after,
            style.HELPS,
        ),
        (row.jump_before, row.jump_after, style.ACCENT),
    ]
    for before, after, colour in spans:
        if after != after:
            continue
        x0, x1 = style.placed([before, after], zero)
        for panel in range(1, n_rows + 1):
            axis = "" if panel == 1 else str(panel)
            place = {"xref": f"x{axis}", "yref": f"y{axis} domain", "x0": x0, "x1": x1, "y0": 0, "y1": 1}
            shapes.append({"type": "rect", **place, "fillcolor": colour, "opacity": 0.1, "line": {"width": 0}})
    line = {"color": style.GREY, "width": 1, "dash": "dot"}
    across = {"xref": "x domain", "yref": "y", "x0": 0, "x1": 1, "y0": THRESHOLD, "y1": THRESHOLD}
    return [*shapes, {"type": "line", **across, "line": line}]
