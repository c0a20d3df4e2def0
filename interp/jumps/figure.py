"""Jumps as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interp.figures import plots, style

if TYPE_CHECKING:
    import plotly.graph_objects as go


def jumps_figure(jumps: Any, most: int) -> go.Figure:
    """What `Jumps.plot` draws."""
    seen = sorted((j for j in jumps.events() if j.midpoint is not None), key=lambda jump: (jump.midpoint, jump.run))
    shown = seen[:most]
    rows: list[dict[str, Any]] = [
        {
            "name": " · ".join(
                filter(None, (jump.run or jump.setting or "all", jump.task, jump.measure, jump.component))
            ),
            "value": jump.midpoint,
            "low": jump.step_before,
            "high": jump.step_after,
            "group": jump.kind,
            "note": f"by {style.number(jump.magnitude)}, {style.number(jump.width_decades)} decades wide, q {style.number(jump.q_value)}",
        }
        for jump in shown
    ]
    steps = [step for row in rows for step in (row["value"], row["low"], row["high"]) if step is not None] or [
        1.0,
        10.0,
    ]
    over_size = bool(shown) and shown[0].over == "size"
    axis = style.step_axis(steps, title="parameters (log scale)") if over_size else style.step_axis(steps)
    title = f"{len(seen)} events in {len(jumps)} entries" + (f"; the first {most}" if len(seen) > most else "")
    unit = axis.pop("title")["text"]
    return plots.intervals(rows, title=title, unit=unit, x_axis=axis, zero=style.zero_place(steps), word="kind")
