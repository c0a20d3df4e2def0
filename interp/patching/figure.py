"""A sweep of patches as a figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.figures import grids, plots, style

if TYPE_CHECKING:
    import plotly.graph_objects as go


def patched_figure(patched: Any, *, normalised: bool) -> go.Figure:
    """What `Patched.plot` draws."""
    values = (patched.normalised() if normalised else patched.values).numpy()
    into_corrupt = patched.direction == "denoise"
    centre = (0.0 if into_corrupt else 1.0) if normalised else (patched.corrupt if into_corrupt else patched.clean)
    unit = f"{patched.metric} (corrupt 0, clean 1)" if normalised else patched.metric
    title = f"{patched.site}: {'clean into corrupt' if into_corrupt else 'corrupt into clean'}"
    labels = [[_name(axis, place) for place in patched.coords[axis]] for axis in patched.by]
    if len(patched.by) < 2:
        names = labels[0] if labels else ["all"]
        figure = plots.bars(names, {"": np.atleast_1d(values).tolist()}, title=title, unit=unit)
        ends = (0.0, 1.0) if normalised else (patched.corrupt, patched.clean)
        for word, end, place in zip(("corrupt", "clean"), ends, ("bottom", "top"), strict=True):
            if math.isfinite(end):
                line = {"color": style.ACCENT, "width": 1.5, "dash": "dot"}
                figure.add_vline(x=end, line=line, annotation_text=word, annotation_position=f"{place} right")
        return figure
    *first, columns = labels
    rows = [" ".join(names) for names in _product(first)]
    return grids.heatmap(
        values.reshape(len(rows), len(columns)),
        rows,
        columns,
        title=title,
        row_title=", ".join(patched.by[:-1]),
        column_title="position" if patched.by[-1] == "pos" else patched.by[-1],
        unit=unit,
        centre=None if centre != centre else centre,
    )


def _name(axis: str, place: int) -> str:
    return f"{ {'layer': 'L', 'head': 'H'}.get(axis, '') }{place}"


def _product(axes: list[list[str]]) -> list[list[str]]:
    rows: list[list[str]] = [[]]
    for names in axes:
        rows = [[*row, name] for row in rows for name in names]
    return rows
