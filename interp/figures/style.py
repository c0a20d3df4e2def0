"""How every figure looks: one palette, one accent, one font, the same log step axis.

The accent marks jumps, and what is called leading. Sizes are shades of one ramp (small is dark, large is light),
controls are grey, signs are blue (helps) and red (hurts): all told apart under the common colour-vision deficiencies.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go

from interp.figures.axis import placed as placed
from interp.figures.axis import zero_place as zero_place
from interp.figures.text import is_share as is_share
from interp.figures.text import number as number
from interp.figures.text import percent as percent
from interp.figures.text import pretty as pretty
from interp.figures.text import short as short

INK, MUTED, RULE, PAPER = "#1f2328", "#636b76", "#e3e6ea", "#ffffff"
ACCENT, ACCENT_SOFT = "#d55e00", "rgba(213, 94, 0, 0.10)"
HELPS, HURTS, GREY = "#0b5fa5", "#b2182b", "#8d949e"
SETTING_COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#7a5195", "#8c6d31")
SIZE_RAMP = ((0x44, 0x1B, 0x63), (0x2D, 0x62, 0x8F), (0x1E, 0x9B, 0x8A), (0x7F, 0xC1, 0x4A))
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SIGNED = [[0.0, HURTS], [0.25, "#e8a198"], [0.5, "#fbfbfb"], [0.75, "#92bfdf"], [1.0, HELPS]]
FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
}

_AXIS = {
    "showgrid": True,
    "gridcolor": RULE,
    "zeroline": False,
    "linecolor": MUTED,
    "ticks": "outside",
    "ticklen": 4,
    "tickcolor": MUTED,
    "automargin": True,
    "title": {"standoff": 8, "font": {"size": 13}},
    "tickfont": {"size": 12},
}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "margin": {"l": 64, "r": 24, "t": 48, "b": 56},
        "hoverlabel": {"bgcolor": PAPER, "bordercolor": RULE, "font": {"color": INK, "size": 12}, "align": "left"},
        "legend": {"bgcolor": "rgba(0,0,0,0)", "font": {"size": 12}, "title": {"font": {"size": 12, "color": MUTED}}},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)


def styled(figure: go.Figure, *, height: int, **layout: Any) -> go.Figure:
    """The house style on a figure, in place."""
    return figure.update_layout(template=TEMPLATE, height=height, **layout)


def ramp(n: int) -> list[str]:
    """`n` colours for ordered sizes, smallest first."""
    places = np.linspace(0, 1, n) if n > 1 else np.array([0.35])
    knots = np.linspace(0, 1, len(SIZE_RAMP))
    channels = [np.interp(places, knots, [colour[i] for colour in SIZE_RAMP]).round().astype(int) for i in range(3)]
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in zip(*channels, strict=True)]


def shortened(name: str, most: int = 32) -> str:
    """A long name with its middle left out: what tells runs apart stands mostly at the end."""
    head = most // 3
    return name if len(name) <= most else f"{name[:head]}…{name[len(name) - (most - head - 1) :]}"


def end_of_scale(largest: Iterable[float]) -> float:
    """The end of a colour or width scale that several runs share, from the largest size in each: the third quartile, and at
    least a tenth of all's largest. One run far above the others is cut there, and does not wash them out; where most runs
    show nothing, their noise does not fill the scale. Both numbers are choices."""
    sizes = np.asarray([size for size in largest if np.isfinite(size)], dtype=float)
    return max(float(np.quantile(sizes, 0.75)), 0.1 * float(sizes.max())) if sizes.size else 1.0


def see_through(colour: str, alpha: float) -> str:
    """A #rrggbb colour with an opacity."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r}, {g}, {b}, {alpha:g})"


def step_axis(
    steps: Iterable[float], *, title: str = "training step (log scale; 0 is at the left end)"
) -> dict[str, Any]:
    """A log axis over the steps, in optimiser steps, with a tick labelled 0 at `zero_place`."""
    values = np.asarray(list(steps), dtype=float)
    values = values[~np.isnan(values)]
    zero = zero_place(values)
    shown = placed(values, zero)
    low, high = (float(shown.min()), float(shown.max())) if shown.size else (1.0, 10.0)
    has_zero = bool((values <= 0).any())
    ticks = [tick for tick in _decades(low, high) if not has_zero or tick > zero * 1.6]
    labels = [short(tick) for tick in ticks]
    if has_zero:
        ticks, labels = [zero, *ticks], ["0", *labels]
    else:
        title = title.replace("; 0 is at the left end", "")
    pad = 0.03 * max(np.log10(high / low), 0.3)
    bounds = [float(np.log10(low) - pad), float(np.log10(high) + pad)]
    return {"type": "log", "tickvals": ticks, "ticktext": labels, "range": bounds, "title": {"text": title}}


def _decades(low: float, high: float) -> list[float]:
    factors = (1, 2, 5) if high / low < 2000 else (1,)
    exponents = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [tick for e in exponents for f in factors if low * 0.999 <= (tick := f * 10.0**e) <= high * 1.001]
    return ticks if len(ticks) > 1 else sorted({low, high})


def dropdown(buttons: list[dict[str, Any]], *, x: float = 0.0, y: float = 1.0, active: int = 0) -> dict[str, Any]:
    """A selector above the plot, its left edge at `x`."""
    return {
        "type": "dropdown",
        "buttons": buttons,
        "active": active,
        "x": x,
        "xanchor": "left",
        "y": y,
        "yanchor": "bottom",
        "pad": {"b": 8, "t": 0, "l": 0, "r": 0},
        "bgcolor": PAPER,
        "bordercolor": "#c3c9d1",
        "font": {"size": 12.5},
        "showactive": True,
    }


def slider(steps: list[dict[str, Any]], *, active: int, prefix: str = "step ") -> dict[str, Any]:
    """A slider under the plot."""
    return {
        "active": active,
        "steps": steps,
        "currentvalue": {"prefix": prefix, "font": {"size": 13, "color": INK}, "xanchor": "left"},
        "pad": {"t": 52, "b": 4},
        "len": 1.0,
        "x": 0.0,
        "bgcolor": RULE,
        "activebgcolor": ACCENT,
        "bordercolor": RULE,
        "tickcolor": RULE,
        "ticklen": 3,
        "minorticklen": 0,
        "font": {"size": 10, "color": MUTED},
    }
