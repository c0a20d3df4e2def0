"""When runs jump: the jump interval against size and setting."""

from __future__ import annotations

from collections.abc import Collection
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from interp.figures import style
from interp.report.outcomes import as_table, outcomes, run_styles, target_curves
from interp.report.rows import rows_of


def jump_step_data(table: Any, jumps: Any, *, target: tuple[str, str] | None = None) -> pd.DataFrame:
    """The data of `jump_step_figure`: `interp.report.outcomes.outcomes` of each target curve, with its task and
    measure."""
    table = as_table(table)
    frames = [
        outcomes(table, jumps, task, measure).assign(task=task, measure=measure)
        for task, measure in ([target] if target else target_curves(table))
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def jump_step_figure(
    table: Any, jumps: Any, *, target: tuple[str, str] | None = None, controls: Collection[str] | None = None
) -> go.Figure:
    """One column a size (and setting), one bar a run from the last checkpoint before its jump to the first after, a
    dot at the midpoint.

    Censored runs (no jump within the steps that were followed) are open arrows at their last step. Several tasks: a
    selector.
    """
    table = as_table(table)
    styles = run_styles(table, controls)
    data = jump_step_data(table, jumps, target=target)
    figure = style.styled(go.Figure(), height=430, margin={"t": 56}, showlegend=False)
    if data.empty:
        return figure
    params = table.drop_duplicates("run").set_index("run")["n_params"]
    labels = list(
        dict.fromkeys(styles[run].label for run in sorted(set(data["run"]), key=lambda r: (styles[r].order, r)))
    )
    zero = style.zero_place(table["step"])
    owners: list[str] = []
    for task, part in data.groupby("task", sort=False):
        traces = _columns(part, styles, labels, zero)
        owners += [str(task)] * len(traces)
        figure.add_traces([trace.update(visible=owners[0] == str(task)) for trace in traces])
    tasks = list(dict.fromkeys(owners))
    if len(tasks) > 1:
        buttons = [
            {"label": task, "method": "restyle", "args": [{"visible": [task == owner for owner in owners]}]}
            for task in tasks
        ]
        figure.update_layout(updatemenus=[style.dropdown(buttons)])
    members = {label: [run for run in styles if styles[run].label == label] for label in labels}
    text = [_tick(label, members[label], params) for label in labels]
    figure.update_xaxes(
        tickvals=list(range(len(labels))),
        ticktext=text,
        range=[-0.6, len(labels) - 0.4],
        showgrid=False,
        title="size and setting",
    )
    jumped = data[data["jumped"]]
    places = [*jumped["step_before"], *jumped["step_after"], *data.loc[~data["jumped"], "last_step"]]
    figure.update_yaxes(**style.step_axis([max(step, zero) for step in places], title="step of the jump (log scale)"))
    return figure


def _tick(label: str, runs: list[str], params: pd.Series) -> str:
    n = params.reindex(runs).dropna()
    name = "<br>".join(escape(style.shortened(word, 18)) for word in label.split(" "))
    return name + (
        f"<br><span style='color:{style.MUTED}'>{style.short(round(float(n.iloc[0]), -2))} par.</span>"
        if len(n)
        else ""
    )


def _columns(part: pd.DataFrame, styles: dict[str, Any], labels: list[str], zero: float) -> list[go.Scatter]:
    traces = []
    for place, label in enumerate(labels):
        rows = part[[styles[run].label == label for run in part["run"]]].sort_values("run")
        half = min(0.42, 0.22 + 0.004 * len(rows))
        spread = np.linspace(-half, half, len(rows)) if len(rows) > 1 else np.zeros(len(rows))
        rows = rows.assign(x=place + spread)
        colour = styles[rows["run"].iloc[0]].colour if len(rows) else style.GREY
        jumped, still = rows[rows["jumped"]], rows[~rows["jumped"]]
        if len(jumped):
            traces += _intervals(jumped, colour, zero)
        if len(still):
            marker = {"symbol": "arrow-up-open", "size": 13, "color": colour, "line": {"width": 1.6}}
            text = [
                f"{r.run}<br>{r.kind}: no jump up to step "
                f"{style.number(r.last_step)}{'; ' + r.reason if r.reason else ''}"
                for r in rows_of(still)
            ]
            ends = style.placed(still["last_step"].to_numpy(float), zero)
            traces.append(
                go.Scatter(
                    x=still["x"],
                    y=ends,
                    mode="markers",
                    marker=marker,
                    text=text,
                    hovertemplate="%{text}<extra></extra>",
                )
            )
    return traces


def _intervals(rows: pd.DataFrame, colour: str, zero: float) -> list[go.Scatter]:
    x, y = [], []
    wide = float(np.clip(120 / len(rows), 1.5, 6))  # many runs: thin enough to be told apart
    for row in rows_of(rows):
        x += [row.x, row.x, None]
        y += [*style.placed([row.step_before, row.step_after], zero), None]
    middle = rows["midpoint"].fillna(np.sqrt(np.maximum(rows["step_before"], zero) * rows["step_after"]))
    text = [
        f"{r.run}<br>{r.kind}: between steps {style.number(r.step_before)} and {style.number(r.step_after)}"
        for r in rows_of(rows)
    ]
    return [
        go.Scatter(
            x=x, y=y, mode="lines", line={"color": style.see_through(colour, 0.4), "width": wide}, hoverinfo="skip"
        ),
        go.Scatter(
            x=rows["x"],
            y=style.placed(middle.to_numpy(float), zero),
            mode="markers",
            marker={"size": wide + 3, "color": colour},
            text=text,
            hovertemplate="%{text}<extra></extra>",
        ),
    ]
