"""Who moved first, to the eye: every indicator aligned on its run's jump."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from interp.figures import style
from interp.report.board import read_board
from interp.report.outcomes import as_table, outcomes, target_curves

GRID = np.geomspace(1 / 16, 4, 49)
MAX_PANELS = 24
COLUMNS = 4
_CURVE = ["run", "component", "position"]


def aligned_data(
    table: Any,
    jumps: Any,
    *,
    board: Any = None,
    target: tuple[str, str] | None = None,
    measures: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The data of `aligned_figure`: indicator, x (= step / T), median, low, high (quartiles over runs), n (runs at
    x), online.

    T is the run's `step_before` (half a first positive step where that is 0). In each run a curve is rescaled so
    that its 2nd percentile is 0 and its 98th is 1, then interpolated linearly in log step. An indicator with several
    components (layers, heads) is averaged over them after rescaling. NaN at an x that fewer than half of the runs
    reach.
    """
    table = as_table(table)
    curves = [target] if target else target_curves(table, board)
    if not curves:
        return pd.DataFrame(columns=["indicator", "x", "median", "low", "high", "n", "online"])
    task, measure = curves[0]
    found = outcomes(table, jumps, task, measure)
    jumped = found[found["jumped"]]
    zero = style.zero_place(table["step"])
    at = dict(zip(jumped["run"], style.placed(jumped["step_before"].to_numpy(float), zero), strict=True))
    wanted = _indicators(table, task, board, measures)
    part = table[table["run"].isin(at) & (table["task"] == task) & table["measure"].isin([*wanted, measure])]
    frames = []
    for name in [measure, *wanted]:
        rows = part[part["measure"] == name]
        lines = _in_runs(rows, at, zero)
        if lines:
            online = bool(rows["online"].all())
            frames.append(_over_runs(name, np.stack(lines), online))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def aligned_figure(
    table: Any,
    jumps: Any,
    *,
    board: Any = None,
    target: tuple[str, str] | None = None,
    measures: Sequence[str] | None = None,
    data: pd.DataFrame | None = None,
) -> go.Figure:
    """Small multiples: one indicator a panel, median and quartile band over the runs that jumped, the behaviour
    behind in the accent. `data`: what `aligned_data` gave for the same arguments, where it is there already."""
    if data is None:
        data = aligned_data(table, jumps, board=board, target=target, measures=measures)
    names = list(dict.fromkeys(data["indicator"])) if len(data) else []
    if len(names) < 2:
        return style.styled(go.Figure(), height=200)
    behaviour, panels = names[0], names[1:]
    n_rows = -(-len(panels) // COLUMNS)
    figure = make_subplots(
        rows=n_rows,
        cols=COLUMNS,
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.02,
        vertical_spacing=min(0.34 / n_rows, 0.2) if n_rows > 1 else 0,
        subplot_titles=[_title(data, name) for name in panels],
    )
    reference = data[data["indicator"] == behaviour]
    for place, name in enumerate(panels):
        row, col = divmod(place, COLUMNS)
        curve = data[data["indicator"] == name]
        first = place == 0
        for trace in _panel(curve, reference, behaviour, first):
            figure.add_trace(trace, row=row + 1, col=col + 1)
    style.styled(figure, height=120 + 158 * n_rows, margin={"t": 70, "l": 48, "r": 12}, hovermode="x unified")
    figure.update_layout(shapes=[_jump_line(place) for place in range(len(panels))])
    ticks = {"tickvals": [0.1, 0.25, 0.5, 1, 2, 4], "ticktext": ["0.1", "¼", "½", "T", "2", "4"]}
    figure.update_xaxes(type="log", range=np.log10([GRID[0], GRID[-1]]).tolist(), hoverformat=".2f", **ticks)
    figure.update_yaxes(range=[-0.15, 1.15], tickvals=[0, 0.5, 1], ticktext=["min", "", "max"], hoverformat=".2f")
    for place in range(max(0, len(panels) - COLUMNS), len(panels)):
        row, col = divmod(place, COLUMNS)
        figure.update_xaxes(showticklabels=True, row=row + 1, col=col + 1)
        figure.update_xaxes(title={"text": "step ÷ T", "font": {"size": 12}}, row=row + 1, col=col + 1)
    figure.update_annotations(font={"size": 12.5})
    return figure.update_layout(
        legend={"orientation": "h", "x": 0, "y": 1 + 56 / (120 + 158 * n_rows), "yanchor": "bottom"}
    )


def _indicators(table: pd.DataFrame, task: str, board: Any, measures: Sequence[str] | None) -> list[str]:
    """Names to draw: as asked, else in the board's order, then the others by name; the circuit's own scores have
    their own figure."""
    rows = table[(table["task"] == task) & (table["kind"] == "indicator")]
    there = [name for name in sorted(map(str, rows["measure"].unique())) if name != "patching"]
    if measures is not None:
        return [name for name in measures if name in set(table["measure"].unique())]
    ranked = [row.indicator for row in read_board(board).of("leaderboard", "hindsight")]
    order = {name: place for place, name in reversed(list(enumerate(ranked)))}
    return sorted(there, key=lambda name: (order.get(name, len(order)), name))[:MAX_PANELS]


def _in_runs(rows: pd.DataFrame, at: Mapping[str, float], zero: float) -> list[np.ndarray]:
    """Each run's curve on `GRID`, mean over components; runs without a usable curve are left out."""
    rows = rows[np.isfinite(rows["value"].to_numpy(float))].sort_values([*_CURVE, "step"], kind="stable")
    codes = rows.groupby(_CURVE, sort=False).ngroup().to_numpy()
    places = np.log(style.placed(rows["step"].to_numpy(float), zero))
    found: dict[str, list[np.ndarray]] = {}
    runs, every = rows["run"].to_numpy(), rows["value"].to_numpy(float)
    for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(codes)) + 1):
        if len(part) < 3:
            continue
        values, run = every[part], str(runs[part[0]])
        low, high = np.percentile(values, [2, 98])
        if high > low:
            x = np.log(GRID * at[run])
            line = np.interp(x, places[part], (values - low) / (high - low), left=np.nan, right=np.nan)
            found.setdefault(run, []).append(line)
    lines = [np.mean(parts, axis=0) for parts in found.values()]
    return [line for line in lines if not np.isnan(line).all()]


def _over_runs(name: str, lines: np.ndarray, online: bool) -> pd.DataFrame:
    n = (~np.isnan(lines)).sum(axis=0)
    reached = n >= max(1, len(lines) / 2)
    quartiles = np.full((3, len(GRID)), np.nan)
    if reached.any():
        quartiles[:, reached] = np.nanpercentile(lines[:, reached], [25, 50, 75], axis=0)
    low, median, high = quartiles
    return pd.DataFrame(
        {"indicator": name, "x": GRID, "median": median, "low": low, "high": high, "n": n, "online": online}
    )


def _jump_line(place: int) -> dict[str, Any]:
    axis = str(place + 1) if place else ""
    ends = {"x0": 1, "x1": 1, "y0": 0, "y1": 1, "xref": f"x{axis}", "yref": f"y{axis} domain"}
    return {"type": "line", **ends, "line": {"color": style.ACCENT, "width": 1}}


def _title(data: pd.DataFrame, name: str) -> str:
    online = bool(data.loc[data["indicator"] == name, "online"].iloc[0])
    return escape(style.pretty(name)) + ("" if online else f" <span style='color:{style.MUTED}'>(hindsight)</span>")


def _panel(curve: pd.DataFrame, reference: pd.DataFrame, behaviour: str, first: bool) -> list[go.Scatter]:
    blue = style.SETTING_COLOURS[0]
    x = GRID.astype(np.float32)
    band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": "band"}
    values = {name: curve[name].to_numpy(np.float32) for name in ("low", "median", "high")}
    return [
        go.Scatter(x=x, y=values["low"], showlegend=False, **band),
        go.Scatter(
            x=x,
            y=values["high"],
            fill="tonexty",
            fillcolor=style.see_through(blue, 0.18),
            name="middle half of the runs",
            showlegend=first,
            **band,
        ),
        go.Scatter(
            x=x,
            y=reference["median"].to_numpy(np.float32),
            mode="lines",
            name=f"{style.pretty(behaviour)} (median)",
            line={"color": style.ACCENT, "width": 1.4, "dash": "dot"},
            legendgroup="behaviour",
            showlegend=first,
            hovertemplate="%{y:.2f}",
        ),
        go.Scatter(
            x=x,
            y=values["median"],
            mode="lines",
            name="indicator (median)",
            line={"color": blue, "width": 2},
            legendgroup="indicator",
            showlegend=first,
            hovertemplate="%{y:.2f}",
        ),
    ]
