"""Values on two axes of names as a coloured grid: layers and heads, positions, components."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from interp.errors import InputError
from interp.figures import style

GREY_CELL = "#d5d9de"
"""Behind the grid, seen where a value is not defined."""
SEQUENTIAL = [[0.0, style.PAPER], [0.5, "#92bfdf"], [1.0, style.HELPS]]
MOST_CHARACTERS = 36
"""Of a name on an axis; the hover has all of it. A choice: about a quarter of a page's width."""


def clipped(name: Any) -> str:
    """A name that fits beside a figure: its middle left out where it is long."""
    text = str(name)
    half = MOST_CHARACTERS // 2
    return escape(text if len(text) <= MOST_CHARACTERS else f"{text[:half]}…{text[-half + 1 :]}")


def heatmap(
    values: Any,
    rows: Sequence[Any],
    columns: Sequence[Any],
    *,
    title: str,
    row_title: str,
    column_title: str,
    unit: str,
    centre: float | None = None,
    text: Any = None,
) -> go.Figure:
    """A grid of values, the first row at the top; NaN is grey.

    centre: the value that is neither good nor bad; colours then have a sign about it (blue above, red below) and reach
        equally far to both sides. None: from the least to the largest.
    text: what stands in the cells.
    """
    z = np.asarray(values, dtype=float)
    colours = _colours(z, centre)
    grid = go.Heatmap(
        z=z,
        customdata=[[[escape(str(row)), escape(str(column))] for column in columns] for row in rows],
        hovertemplate=f"{row_title} %{{customdata[0]}}<br>{column_title} %{{customdata[1]}}<br>{unit}: %{{z:.4g}}<extra></extra>",
        hoverongaps=False,
        colorbar={"title": {"text": unit, "side": "right"}, "thickness": 14, "outlinewidth": 0},
        xgap=1,
        ygap=1,
        **colours,
    )
    if text is not None:
        grid.update(text=text, texttemplate="%{text}", textfont={"size": 11})
    figure = go.Figure(grid)
    height = int(np.clip(150 + 26 * len(rows), 280, 1400))
    style.styled(figure, height=height, title=heading(title), plot_bgcolor=GREY_CELL)
    figure.update_xaxes(**_ticks(columns, 24), showgrid=False, title={"text": column_title})
    figure.update_yaxes(**_ticks(rows, 48), showgrid=False, title={"text": row_title}, autorange="reversed")
    return figure


def squares(patterns: Any, names: Sequence[Any], titles: Sequence[str], *, title: str = "") -> go.Figure:
    """Attention patterns [head, query, key] as squares, at most four a row: queries down, keys across."""
    patterns = np.asarray(patterns)
    names = [str(name) for name in names]
    if patterns.shape[1:] != (len(names), len(names)):
        raise InputError(f"expected patterns [head, {len(names)}, {len(names)}], one a name, got {patterns.shape}")
    n_columns = min(4, len(titles))
    n_rows = -(-len(titles) // n_columns)
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        subplot_titles=list(titles),
        shared_xaxes="all",
        shared_yaxes="all",
        vertical_spacing=0.4 / (n_rows + 1) ** 1.5,
    )
    for i, attention in enumerate(patterns):
        square = go.Heatmap(
            z=attention,
            coloraxis="coloraxis",
            customdata=[[[query, key] for key in names] for query in names],
            hovertemplate="from %{customdata[0]} to %{customdata[1]}: %{z:.3f}<extra>" + titles[i] + "</extra>",
        )
        figure.add_trace(square, row=i // n_columns + 1, col=i % n_columns + 1)
    figure.update_xaxes(**_ticks(names, 12), showgrid=False)
    figure.update_yaxes(**_ticks(names, 12), showgrid=False, autorange="reversed")
    colours = {"colorscale": SEQUENTIAL, "cmin": 0, "cmax": 1, "colorbar": {"thickness": 14, "outlinewidth": 0}}
    style.styled(figure, height=170 + 240 * n_rows, coloraxis=colours, title=heading(title))
    return figure.update_layout(margin={"t": 84}, title_y=1 - 20 / (170 + 240 * n_rows))


def heading(title: str) -> dict[str, Any]:
    """A figure's title, at the left."""
    return {"text": title, "font": {"size": 14}, "x": 0.0, "xref": "paper", "xanchor": "left"} if title else {}


def _colours(z: np.ndarray, centre: float | None) -> dict[str, Any]:
    finite = z[np.isfinite(z)]
    if centre is None:
        return {"colorscale": SEQUENTIAL, "zauto": True}
    far = float(np.abs(finite - centre).max()) if finite.size else 0.0
    return {"colorscale": style.SIGNED, "zmin": centre - (far or 1.0), "zmax": centre + (far or 1.0)}


def _ticks(names: Sequence[Any], most: int) -> dict[str, Any]:
    """Names at the places, every so many of them where there are more than fit."""
    shown = range(0, len(names), max(1, -(-len(names) // most)))
    return {"tickvals": list(shown), "ticktext": [clipped(names[place]) for place in shown]}
