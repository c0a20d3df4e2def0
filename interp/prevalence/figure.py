"""Shares of curves that jump as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interp.figures import plots

if TYPE_CHECKING:
    import plotly.graph_objects as go


def prevalence_figure(found: Any) -> go.Figure:
    """What `Prevalence.plot` draws."""
    rows = [
        {
            "name": " · ".join(
                filter(None, (row["measure"], "" if row["group"] == "all" else str(row["group"]), row["kind"]))
            ),
            "value": row["share"],
            "low": row["low"],
            "high": row["high"],
            "group": row["kind"],
            "note": f"{row['n']} curves, as found {row['observed']:.0%}",
        }
        for row in found.shares
    ]
    axis = {"range": [-0.02, 1.02], "tickformat": ".0%"}
    title = "Share of curves" + (f", by {found.by}" if found.by else "")
    return plots.intervals(rows, title=title, unit="share of curves (95 % interval)", x_axis=axis, word="kind")
