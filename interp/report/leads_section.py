"""The section on leads: the board, the onsets, the alarms and the forecast."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import plotly.graph_objects as go

from interp.figures import style
from interp.leads.gain import LEAST_EVENTS
from interp.report import tables
from interp.report.board import Board
from interp.report.headline import leading_clause
from interp.report.leads import forecast_points, leads_figures
from interp.report.section import Material, Section, caption, figure_html, section

_LISTS = {
    "leaderboard": (
        "Leaderboard",
        "Online indicators only. T is the jump step. Leading means: the lower end of the gain over all "
        "baselines is above 0, the family-wise "
        "p is at most 5 %, and coverage is above the false-alarm rate. Not leading means: the gain lies below the stated "
        "margin, in runs that would show a planted leader. Everything else is undetermined; the last column says why, "
        "and how many runs would decide.",
    ),
    "hindsight": (
        "Hindsight measures",
        "They use the end of the run, so they can warn nobody; they are here to understand, not to forecast.",
    ),
    "baselines": (
        "Baselines",
        "What every indicator has to beat: the step itself, the losses, the target's own log-probability. Their gain "
        "is over step and setting only.",
    ),
}


def leads_section(material: Material) -> Section | str:
    figures = leads_figures(material.board, onsets=material.onsets, forecast=material.forecast)
    made = tables.leads_tables(material.board, material.onsets)
    if not figures and not made and material.onsets.empty:
        return material.reasons.get("board", "no indicators, or no run that jumped")
    parts = []
    if not material.board.given:
        parts.append(
            f'<p class="note">No leaderboard: '
            f"{escape(material.reasons.get('board', 'leads have not been ranked'))}.</p>"
        )
    if "leaderboard" in made:
        parts += ["<h3>Leaderboard</h3>", caption(_LISTS["leaderboard"][1]), made["leaderboard"]]
    elif len(material.onsets):
        parts += [
            caption("Each indicator's own onset by the jump detector, against the run's jump."),
            tables.onset_table(material.onsets),
        ]
    notes = [*material.board.notes, *_left_out(material.board)]
    parts += [f'<p class="note">{escape(note)}</p>' for note in notes]
    parts += _lead_figures(figures, material)
    for name in ("hindsight", "baselines"):
        if name in made:
            title, text = _LISTS[name]
            parts += [f"<h3>{title}</h3>", caption(text), made[name]]
    return section(
        "leads",
        "Leads",
        leading_clause(material.board, material.table),
        "".join(parts),
        leads=material.board.frame(),
        onsets=material.onsets,
        forecast=forecast_points(material.forecast),
    )


def _left_out(board: Board) -> list[str]:
    """A note, where the tables leave out ranks of too few events."""
    few = any(
        tables.few_events(row) for row in board.rows if row.auroc == row.auroc or row.concordance == row.concordance
    )
    return [f"AUROC and concordance are not shown where fewer than {LEAST_EVENTS} runs jump."] if few else []


def _lead_figures(figures: Mapping[str, go.Figure], material: Material) -> list[str]:
    jumped = material.onsets.loc[material.onsets["event"].astype(bool), "run"].nunique()
    texts = {
        "onsets": (
            "Lead of each indicator's own onset",
            f"One dot a run ({jumped} that jumped), box and median over them; right of the line the indicator "
            f"moved first. Runs in which it had no "
            "onset have no dot. This describes; it is no test, since anything that moves early in every run "
            "leads here.",
        ),
        "alarms": (
            "Lead of the first alarm",
            "Causal alarms at the false-alarm rate that the board decides by, thresholds from other runs; one dot an "
            "event that had an alarm. Left of the line the alarm came too late to warn.",
        ),
        "gain": (
            "What an indicator adds to the baselines",
            "Held-out gain with its interval over runs; orange is called leading, grey is hindsight. An "
            "interval that includes 0 means that the "
            "baselines already knew.",
        ),
        "coverage": (
            "Warned in time, at what price",
            "Share of jumps whose first alarm came in the window, against the share of runs that raise a false "
            "alarm. On the dashed diagonal an "
            "alarm is worth nothing; dotted lines are baselines, told apart by their markers.",
        ),
        "forecast": (
            "Forecast of the run in progress",
            _forecast_caption(material.forecast),
        ),
    }
    parts = {
        name: f"<div><h3>{title}</h3>{caption(text)}{figure_html(f'fig-{name}', figures[name])}</div>"
        for name, (title, text) in texts.items()
        if name in figures
    }
    made = []
    for names in (("onsets", "alarms"), ("gain",), ("coverage",), ("forecast",)):
        row = [parts[name] for name in names if name in parts]
        made.append(f'<div class="pair">{"".join(row)}</div>' if len(row) == 2 else "".join(row))
    return made


def _forecast_caption(forecast: Any) -> str:
    """Which run, how to read the fan, and how such forecasts came true."""
    facts = forecast or {}
    found = facts.get("calibration") or {}
    level = style.percent(facts.get("level"))
    text = (
        f"{facts.get('run', 'The run')}: predicted step of its jump (interval: {level}), seen from each step so "
        "far, given that it jumps; below, the chance that it does. The dotted line is now: a fan that rides on it says "
        "“soon” forever. "
    )
    if not found.get("n"):
        return text + "No held-out run could check these forecasts."
    return text + (
        f"The same forecasts of other runs, held out ({found['n']}): median error {style.percent(found.get('mdape'))}, "
        f"the interval held {style.percent(found.get('interval_coverage'))} of the jumps."
    )
