"""What moved first, and whether that is evidence: pictures of the leaderboard.

`board` everywhere in this package is what `interp.leads.rank_leads` gives, or its JSON (`interp.report.board.read_board`).
"""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from interp.figures import style
from interp.report.board import Board, named, read_board
from interp.report.rows import as_dict, records_of, rows_of

MAX_ROWS = 40
MAX_DOTS = 100
"""Runs that are dots of an indicator: an even choice of the sorted leads, which leaves median and quartiles where they are."""
_ROLES = {"leaderboard": "", "hindsight": "hindsight", "baselines": "baseline"}


def leads_figures(
    board: Any = None, *, onsets: pd.DataFrame | None = None, forecast: Any = None
) -> dict[str, go.Figure]:
    """The pictures that the data allow, by name.

    `onsets`: lead of each indicator's own onset, one point a run. `alarms`: lead of its first alarm. `gain`: what it
    adds to the baselines. `coverage`: events warned against false alarms. `forecast`: fan chart of a run in progress.
    """
    board = read_board(board)
    drawn = {
        "onsets": None
        if onsets is None
        else _strip(onsets.assign(role=np.where(onsets["online"].astype(bool), "", "hindsight"))),
        "alarms": _strip(alarm_data(board)),
        "gain": _gain(board),
        "coverage": _coverage(board),
        "forecast": _forecast(forecast),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def alarm_data(board: Any) -> pd.DataFrame:
    """The board's alarms, one row a run and series: indicator, component, position, run, T, onset (the alarm's step),
    lead (a share of T), role ("", "hindsight" or "baseline")."""
    board = read_board(board)
    frame = pd.DataFrame(board.per_run)
    if frame.empty:
        return pd.DataFrame(columns=["indicator", "component", "position", "run", "T", "onset", "lead", "role"])
    roles = {row.name: _ROLES[row.list] for row in board.rows}
    frame = frame.rename(columns={"alarm": "onset"})
    frame["lead"] = pd.to_numeric(frame["lead"], errors="coerce")
    return frame.assign(role=[roles.get(name, "") for name in _names(frame)])


def _names(frame: pd.DataFrame) -> list[str]:
    """The names of the series that a table's rows are of."""
    keys = ("indicator", "component", "position")
    return [named(**{key: row[key] for key in keys if key in row}) for row in records_of(frame)]


def _strip(data: pd.DataFrame) -> go.Figure | None:
    """Strip and box an indicator, the earliest at the top; hindsight measures and baselines are grey."""
    part = data[np.isfinite(data["lead"].astype(float))]
    if part.empty:
        return None
    part = part.assign(name=_names(part))
    order = part.groupby("name")["lead"].agg(["median", "size"])
    order = order.sort_values("size").tail(MAX_ROWS).sort_values("median")
    figure = go.Figure()
    for name in order.index:
        rows = part[part["name"] == name].sort_values("lead", kind="stable")
        rows = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_DOTS)).round().astype(int))]
        role = rows["role"].iloc[0]
        colour = style.GREY if role else style.SETTING_COLOURS[0]
        label = escape(style.pretty(str(name))) + (f" ({role})" if role else "")
        notes = [f"{r.run}<br>step {style.number(r.onset)}, T {style.number(r.T)}" for r in rows_of(rows)]
        figure.add_box(
            x=(100 * rows["lead"]).clip(-200, 100),
            y=[label] * len(rows),
            orientation="h",
            boxpoints="all",
            pointpos=0,
            jitter=0.5,
            marker={"color": colour, "size": 5, "opacity": 0.75},
            line={"color": colour, "width": 1},
            fillcolor="rgba(0,0,0,0)",
            text=notes,
            hovertemplate="%{text}<br>lead %{x:.0f} % of T<extra></extra>",
            hoveron="points",
            showlegend=False,
        )
    figure.add_vline(x=0, line={"color": style.ACCENT, "width": 1.4})
    style.styled(figure, height=110 + 24 * len(order), margin={"t": 24})
    figure.update_xaxes(title="lead, % of T (right of 0: before the jump)", ticksuffix=" %")
    return figure.update_yaxes(showgrid=False, ticks="")


def _gain(board: Board) -> go.Figure | None:
    """Gain and its interval, one row an indicator."""
    part = [row for row in board.of("leaderboard", "hindsight") if row.gain == row.gain]
    if not part:
        return None
    part = sorted(part, key=lambda row: row.gain)[-MAX_ROWS:]
    figure = go.Figure()
    for row in part:
        is_late = row.list == "hindsight"
        colour = style.ACCENT if row.leading else style.GREY if is_late else style.SETTING_COLOURS[0]
        label = escape(style.pretty(row.name)) + (" (hindsight)" if is_late else "")
        low, high = (row.gain if end != end else end for end in (row.gain_low, row.gain_high))
        figure.add_scatter(
            x=[low, high],
            y=[label, label],
            mode="lines",
            line={"color": colour, "width": 2},
            hoverinfo="skip",
            showlegend=False,
        )
        figure.add_scatter(
            x=[row.gain],
            y=[label],
            mode="markers",
            marker={"color": colour, "size": 8},
            showlegend=False,
            hovertemplate=f"%{{x:.3f}} bits a row ({style.number(low)} to {style.number(high)})<extra></extra>",
        )
    figure.add_vline(x=0, line={"color": style.INK, "width": 1})
    style.styled(figure, height=110 + 24 * len(part), margin={"t": 24})
    figure.update_xaxes(title="gain over the baselines (bits a row, held out)")
    return figure.update_yaxes(showgrid=False, ticks="", type="category")


def _coverage(board: Board) -> go.Figure | None:
    """Share of events warned in time against the false-alarm rate: what is called leading, the six best others and the
    three best baselines by name and marker, the rest pale."""
    curves = _coverage_curves(board)
    if not curves:
        return None
    named = [name for name, role, _ in curves if role == "indicator"][:6]
    baselines = [name for name, role, _ in curves if role == "baseline"][:3]
    symbols = dict(zip(baselines, ("square-open", "diamond-open", "triangle-up-open"), strict=False))
    figure = go.Figure()
    for name, role, points in curves:
        shown = role == "leading" or name in named or name in baselines
        palette = dict(zip(named, style.SETTING_COLOURS, strict=False)) if role == "indicator" else {}
        colour = style.ACCENT if role == "leading" else palette.get(name, style.GREY)
        width = 2 if shown and role != "baseline" else 1.2
        figure.add_scatter(
            x=[rate for rate, _ in points],
            y=[share for _, share in points],
            mode="lines+markers",
            name=escape(style.pretty(name)) + (" (baseline)" if role == "baseline" else ""),
            line={"color": colour, "dash": "dot" if role == "baseline" else "solid", "width": width},
            marker={"symbol": symbols.get(name, "circle"), "size": 8 if name in symbols else 6},
            opacity=1 if shown else 0.35,
            showlegend=shown,
            hovertemplate="%{y:.0%} warned at %{x:.0%} false alarms",
        )
    top = max(rate for _, _, points in curves for rate, _ in points)
    line = {"color": style.MUTED, "width": 1, "dash": "dash"}
    figure.add_scatter(x=[0, top], y=[0, top], mode="lines", line=line, name="coverage = rate", hoverinfo="skip")
    style.styled(figure, height=400, margin={"t": 24})
    figure.update_xaxes(title="false-alarm rate (share of runs)", tickformat=".0%", range=[0, top * 1.08])
    return figure.update_yaxes(title="events warned in time (coverage)", tickformat=".0%", range=[-0.03, 1.05])


def _coverage_curves(board: Board) -> list[tuple[str, str, list[tuple[float, float]]]]:
    """(name, role, [(nominal rate, coverage)]) without hindsight measures, the highest at the largest rate first."""
    curves = []
    for row in board.of("leaderboard", "baselines"):
        if known := [(rate, share) for rate, share in row.coverage if share == share]:
            role = "baseline" if row.list == "baselines" else "leading" if row.leading else "indicator"
            curves.append((row.name, role, known))
    return sorted(curves, key=lambda curve: (curve[1] != "leading", -curve[2][-1][1], -curve[2][0][1]))


def _forecast(forecast: Any) -> go.Figure | None:
    """Fan chart: the predicted step with its interval, and below the chance of a jump, at each step of the run."""
    points = forecast_points(forecast)
    if points.empty:
        return None
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07, row_heights=[0.62, 0.38])
    blue, x = style.SETTING_COLOURS[0], points["step"].tolist()
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    fan = {"fill": "tonexty", "fillcolor": style.see_through(blue, 0.18)}
    figure.add_scatter(x=x, y=points["low"], showlegend=False, **edge, row=1, col=1)
    figure.add_scatter(x=x, y=points["high"], name="interval", **edge, **fan, row=1, col=1)
    line = {"color": blue, "width": 2}
    figure.add_scatter(x=x, y=points["predicted"], mode="lines+markers", line=line, name="predicted step", row=1, col=1)
    now = {"color": style.MUTED, "dash": "dot", "width": 1}
    figure.add_scatter(x=x, y=x, mode="lines", line=now, name="now", row=1, col=1)
    for place, (name, label) in enumerate((("p_next", "within the horizon"), ("p_by_budget", "by the planned end"))):
        colour = {"color": style.SETTING_COLOURS[place + 1], "width": 2}
        if points[name].notna().any():
            figure.add_scatter(x=x, y=points[name], mode="lines+markers", line=colour, name=label, row=2, col=1)
    style.styled(figure, height=520, margin={"t": 24}, hovermode="x unified")
    figure.update_xaxes(**{**style.step_axis(points["step"]), "title": None}, row=1, col=1)
    figure.update_xaxes(**style.step_axis(points["step"], title="step of the forecast (log scale)"), row=2, col=1)
    figure.update_yaxes(type="log", dtick=1, title="predicted step of the jump", row=1, col=1)
    return figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%", title="chance of a jump", row=2, col=1)


def forecast_points(forecast: Any) -> pd.DataFrame:
    """step, predicted, low, high, p_next, p_by_budget at each moment, from what `interp.leads.forecast` gave."""
    points = (forecast or {}).get("points", [])
    columns = ["step", "predicted", "low", "high", "p_next", "p_by_budget"]
    frame = pd.DataFrame([as_dict(row) for row in points]).reindex(columns=columns).astype(float)
    return frame[frame["predicted"].notna()].sort_values("step", ignore_index=True)
