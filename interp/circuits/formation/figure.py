"""A tracked circuit as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interp.figures import plots, style

if TYPE_CHECKING:
    import plotly.graph_objects as go

_LINES = {
    "carried": "circuit",
    "whole": "whole model",
    "strict": "circuit, strict",
    "whole_strict": "whole model, strict",
}


def tracked_figure(tracked: Any) -> go.Figure:
    """What `TrackedCircuit.plot` draws."""
    frame = tracked.to_pandas()
    steps = frame["step"].tolist()
    lines = {name: frame[column].tolist() for column, name in _LINES.items()}
    figure = plots.over_steps(
        steps, lines, title="Which prompts the circuit carries", y_title="share of held-out prompts"
    )
    zero = style.zero_place(steps)
    for presence in tracked.intervals:
        first = presence.formed[1]
        last = steps[-1] if presence.lost is None else presence.lost[0]
        x0, x1 = style.placed([first, last], zero).tolist()
        figure.add_vrect(x0=x0, x1=x1, fillcolor=style.ACCENT_SOFT, line_width=0, layer="below")
        figure.add_vline(x=x0, line={"color": style.ACCENT, "width": 1})
    return figure.update_yaxes(range=[-0.03, 1.03])
