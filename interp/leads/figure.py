"""The board, a forecast and the effects of interventions as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from interp.figures import grids, plots, style

if TYPE_CHECKING:
    import plotly.graph_objects as go


def board_figure(series: Sequence[tuple[str, Mapping[str, Any]]], most: int) -> go.Figure:
    """What `Board.plot` draws, of the names and rows of its leaderboard."""
    several = len({row["task"] for _, row in series}) > 1
    rows = [
        {
            "name": name + (f" · {row['task']}" if several else ""),
            "value": row["gain"],
            "low": row["gain_low"],
            "high": row["gain_high"],
            "group": row["verdict"],
            "note": row["reason"],
        }
        for name, row in series[:most]
    ]
    n = len(series)
    title = f"What {n} indicators add to the trivial measures" + (f" (the first {most})" if n > most else "")
    figure = plots.intervals(rows, title=title, unit="gain (bits a row)", word="verdict")
    return figure.update_xaxes(zeroline=True, zerolinecolor=style.MUTED)


def effects_figure(effects: Sequence[Mapping[str, Any]]) -> go.Figure:
    """What `Effects.plot` draws. Where no pair has both events, the mark is the bound at the budget, said in the hover."""
    several = len({(row["task"], row["family"]) for row in effects}) > 1
    rows = [
        {
            "name": row["setting"] + (f" · {row['family'] or row['task']}" if several else ""),
            "value": row["effect"] if row["n"] else row["at_budget"],
            "low": row["low"],
            "high": row["high"],
            "group": "placebo" if row["is_placebo"] else row["name"],
            "note": f"{row['verdict']}; {row['n']} of {row['n_pairs']} pairs have both events"
            + ("" if row["n"] else ", censored ones at their budget"),
        }
        for row in effects
    ]
    figure = plots.intervals(rows, title="How far interventions move the event", unit="shift of log10 T (decades)")
    for trace in figure.data:
        if trace.legendgroup == "placebo":
            trace.update(line={"color": style.GREY} if trace.mode == "lines" else None)
            trace.update(marker={"color": style.GREY} if trace.mode == "markers" else None)
    return figure.update_xaxes(zeroline=True, zerolinecolor=style.MUTED)


def forecast_figure(found: Any) -> go.Figure:
    """What `Forecast.plot` draws: on both axes, steps."""
    points = found["points"]
    at, ends = [point["step"] for point in points], []
    for key in ("predicted", "low", "high"):
        ends += [point[key] for point in points if point[key] is not None]
    steps = [*at, *ends, *(step for step in (found["now"], found["T"], found["budget"]) if step is not None)]
    zero = style.zero_place(steps)
    figure = plots.over_steps(
        at,
        {"predicted": [point["predicted"] for point in points]},
        title=f"When does {grids.clipped(found['run'])} jump? ({found['status']})",
        y_title="predicted step of the jump",
    )
    band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    x = style.placed(at, zero).tolist()
    figure.add_scatter(x=x, y=[point["low"] for point in points], name="low", **band)
    fill = {"fill": "tonexty", "fillcolor": style.see_through(style.SETTING_COLOURS[0], 0.18)}
    figure.add_scatter(x=x, y=[point["high"] for point in points], name="high", **band, **fill)
    for key, word, dash in (("T", "jumped", "solid"), ("budget", "planned end", "dot")):
        if found[key] is not None:
            line = {"color": style.ACCENT if key == "T" else style.MUTED, "width": 1.5, "dash": dash}
            ends = [min(x, default=zero), max(x, default=zero)]
            figure.add_scatter(x=ends, y=[found[key]] * 2, mode="lines", name=word, line=line, hoverinfo="name")
    figure.update_layout(showlegend=True, margin={"t": 84})
    axis = style.step_axis(steps, title="")
    return figure.update_yaxes(**{key: axis[key] for key in ("type", "tickvals", "ticktext", "range")})
