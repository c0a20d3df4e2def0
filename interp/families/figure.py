"""A family's checkpoints as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interp.figures import grids, style

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_ROWS = 120
"""Runs that are drawn: a choice, two screens of rows."""


def family_figure(family: Any) -> go.Figure:
    """What `Family.plot` draws."""
    import plotly.graph_objects as go

    frame = family.to_pandas()
    steps = frame["step"].tolist()
    zero = style.zero_place(steps)
    runs = list(dict.fromkeys(zip(frame["size"], frame["setting"], frame["seed"], strict=True)))
    shown = runs[:MOST_ROWS]
    colours = dict(zip(family.sizes, style.ramp(len(family.sizes)), strict=True))
    figure = go.Figure()
    for place, (size, setting, seed) in enumerate(shown):
        own = frame[(frame["size"] == size) & (frame["setting"] == setting) & (frame["seed"] == seed)]["step"].tolist()
        figure.add_scatter(
            x=style.placed(own, zero).tolist(),
            y=[place] * len(own),
            mode="markers",
            name=f"{size}/{setting}/seed{seed}",
            marker={"color": colours[size], "size": 6},
            customdata=[style.number(step) for step in own],
            hovertemplate="%{fullData.name}<br>step %{customdata}<extra></extra>",
            showlegend=False,
        )
    names = [grids.clipped(f"{size}/{setting}/seed{seed}") for size, setting, seed in shown]
    more = f" (the first {MOST_ROWS} of {len(runs)} runs)" if len(runs) > MOST_ROWS else ""
    title = grids.heading(f"{len(frame)} checkpoints of {family.name}{more}")
    style.styled(figure, height=min(max(240, 150 + 20 * len(shown)), 2600), title=title)
    figure.update_yaxes(
        tickvals=list(range(len(shown))), ticktext=names, range=[len(shown) - 0.4, -0.6], showgrid=False
    )
    return figure.update_xaxes(**style.step_axis(steps))
