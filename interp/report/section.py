"""What a section of the page is, and what all sections are made of."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from interp.figures import style
from interp.report.board import Board


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """All that the page is made of.

    jumps, board: empty where there are none; reasons: why, by name. found: what became of each run, by target curve.
    """

    table: pd.DataFrame
    jumps: pd.DataFrame
    board: Board
    found: Mapping[tuple[str, str], pd.DataFrame]
    onsets: pd.DataFrame
    circuits: Mapping[tuple[str, str], Mapping[float, Any]]
    forecast: Any
    controls: Collection[str] | None
    failures: list[dict[str, Any]]
    provenance: Mapping[str, Any]
    reasons: Mapping[str, str]


ASKS = {
    "behaviour": "When does behaviour change?",
    "parts": "Do its parts change together?",
    "aligned": "What moves before?",
    "prevalence": "How often do curves jump?",
    "components": "Which parts of the model carry it?",
    "when": "When do runs jump?",
    "formed": "Was the circuit there first?",
    "circuit": "Which circuit is it?",
    "leads": "What would have warned us?",
    "jumps": "Which jumps are there?",
    "failures": "What is not there?",
    "provenance": "Where does it come from?",
}
"""The question of each section."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Section:
    """One section: `title` is the answer to the question of its `id`, `html` its body, `data` what its figures draw, by
    name."""

    id: str
    nav: str
    title: str
    html: str
    data: dict[str, pd.DataFrame] = field(default_factory=dict)


def figure_html(name: str, figure: go.Figure) -> str:
    """The figure's place and its data as inert JSON (no markup can end the block)."""
    spec = json.loads(figure.to_json())
    text = json.dumps({"data": spec["data"], "layout": spec["layout"], "config": style.CONFIG}, separators=(",", ":"))
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    height = int(figure.layout.height or 400)
    return (
        f'<div class="figure" id="{name}" style="height:{height}px" role="group" aria-label="figure"></div>'
        f'<script type="application/json" id="{name}-data">{safe}</script>'
    )


def caption(text: str) -> str:
    """A caption; the text is escaped."""
    return f'<p class="caption">{escape(text)}</p>'


def section(place: str, nav: str, title: str, html: str, **data: pd.DataFrame) -> Section:
    """`title`: the answer, begun with a capital here."""
    return Section(id=place, nav=nav, title=title[0].upper() + title[1:], html=html, data=data)
