"""Curves, bars and intervals of plain numbers in the one style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from interp.figures import style
from interp.figures.grids import clipped, heading

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
"""Beside the colours, so that a line is told without them."""


def curves(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    *,
    title: str,
    x_axis: Mapping[str, Any],
    y_title: str,
    places: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
) -> go.Figure:
    """A line a name over the same x. places: where x stands on its axis, where that is another value (0 on a log axis).
    names: what the hover says of each x."""
    figure = go.Figure()
    at = list(x if places is None else places)
    for order, (name, values) in enumerate(lines.items()):
        colour = style.SETTING_COLOURS[order % len(style.SETTING_COLOURS)]
        figure.add_scatter(
            x=at,
            y=list(values),
            name=clipped(name),
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": style.DASHES[order % len(style.DASHES)]},
            marker={"symbol": SYMBOLS[order % len(SYMBOLS)], "size": 6},
            customdata=list(names or map(style.number, x)),
            hovertemplate=f"{escape(str(name))}<br>%{{customdata}}: %{{y:.4g}}<extra></extra>",
        )
    below = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"}
    style.styled(figure, height=380, title=heading(title), legend=below, showlegend=len(lines) > 1)
    figure.update_layout(margin={"t": 84 if len(lines) > 1 else 48})
    return figure.update_xaxes(**x_axis).update_yaxes(title={"text": y_title})


def over_steps(steps: Sequence[float], lines: Mapping[str, Sequence[float]], *, title: str, y_title: str) -> go.Figure:
    """Curves over training, on the log step axis."""
    axis, at = style.step_axis(steps), style.placed(list(steps), style.zero_place(steps)).tolist()
    told = [f"step {style.number(step)}" for step in steps]
    return curves(steps, lines, title=title, x_axis=axis, y_title=y_title, places=at, names=told)


def bars(
    names: Sequence[str], groups: Mapping[str, Sequence[float]], *, title: str, unit: str, signed: bool = False
) -> go.Figure:
    """A bar a name, lying, the first at the top; several groups stand side by side. signed: colours by sign."""
    figure = go.Figure()
    for order, (group, values) in enumerate(groups.items()):
        colour: Any = style.SETTING_COLOURS[order % len(style.SETTING_COLOURS)]
        if signed:
            colour = [style.HURTS if value < 0 else style.HELPS for value in values]
        figure.add_bar(
            y=list(range(len(names))),
            x=list(values),
            name=group,
            orientation="h",
            marker={"color": colour, "pattern": {"shape": "" if signed else ("", "/", ".", "x")[order % 4]}},
            customdata=[escape(str(name)) for name in names],
            hovertemplate=f"%{{customdata}}<br>{group or unit}: %{{x:.4g}}<extra></extra>",
        )
    _rows(figure, names, per_row=14 * max(len(groups), 1) + 8, title=title, legend=len(groups) > 1)
    return figure.update_xaxes(title={"text": unit}, zeroline=True, zerolinecolor=style.MUTED)


def intervals(
    rows: Sequence[Mapping[str, Any]],
    *,
    title: str,
    unit: str,
    x_axis: Mapping[str, Any] | None = None,
    zero: float | None = None,
    word: str = "",
) -> go.Figure:
    """A row an entry: `value` as a mark and `low` to `high` as a bar, in the colour and mark of its `group`.

    rows: with `name`, `value`, `low`, `high`, `group`, and `note` for the hover; what is NaN is not drawn.
    zero: values up to it stand there on a log axis. word: what groups are.
    """
    figure = go.Figure()

    def at(values: list[Any]) -> list[float]:
        plain = [np.nan if value is None else float(value) for value in values]
        return plain if zero is None else style.placed(plain, zero).tolist()

    for order, group in enumerate(dict.fromkeys(row["group"] for row in rows)):
        colour = style.SETTING_COLOURS[order % len(style.SETTING_COLOURS)]
        own = [(place, row) for place, row in enumerate(rows) if row["group"] == group]
        ends = [end for place, row in own for end in (*at([row["low"], row["high"]]), None)]
        ys = [y for place, _ in own for y in (place, place, None)]
        figure.add_scatter(
            x=ends, y=ys, mode="lines", line={"color": colour, "width": 5}, opacity=0.35, hoverinfo="skip",
            showlegend=False, legendgroup=str(group),
        )  # fmt: skip
        figure.add_scatter(
            x=at([row["value"] for _, row in own]),
            y=[place for place, _ in own],
            name=str(group),
            legendgroup=str(group),
            mode="markers",
            marker={"color": colour, "size": 9, "symbol": SYMBOLS[order % len(SYMBOLS)]},
            customdata=[_hover(row) for _, row in own],
            hovertemplate="%{customdata[0]}<br>%{customdata[2]} (%{customdata[3]} to %{customdata[4]})<br>"
            "%{customdata[1]}<extra></extra>",
        )  # fmt: skip
    _rows(figure, [row["name"] for row in rows], per_row=24, title=title, legend=True, word=word)
    return figure.update_xaxes(title={"text": unit}).update_xaxes(**dict(x_axis or {}))


def _hover(row: Mapping[str, Any]) -> list[str]:
    words = (escape(str(row.get(key, ""))) for key in ("name", "note"))
    return [*words, *(_told(row[key]) for key in ("value", "low", "high"))]


def _told(value: Any) -> str:
    return style.number(value) if value is None or isinstance(value, int | float | np.number) else str(value)


def _rows(
    figure: go.Figure, names: Sequence[str], *, per_row: int, title: str, legend: bool, word: str = ""
) -> go.Figure:
    """Named rows down a figure, its legend above them."""
    height = int(np.clip(170 + per_row * len(names), 260, 3000))
    above = {"orientation": "h", "x": 0, "y": 1 + 12 / height, "yanchor": "bottom", "title": {"text": word}}
    style.styled(figure, height=height, title=heading(title), legend=above, showlegend=legend, barmode="group")
    figure.update_layout(margin={"t": 84 if legend else 48})
    ticks = {"tickvals": list(range(len(names))), "ticktext": [clipped(name) for name in names]}
    return figure.update_yaxes(**ticks, range=[len(names) - 0.4, -0.6], showgrid=False)
