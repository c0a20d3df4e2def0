"""What moved first? From a table of runs to a leaderboard of indicators, with baselines, nulls and a family-wise
error."""

from __future__ import annotations

from interp.leads.board import Board as Board
from interp.leads.board import format_board as format_board
from interp.leads.causal import Effects as Effects
from interp.leads.causal import intervention_effects as intervention_effects
from interp.leads.forecast import forecast as forecast
from interp.leads.forecast import format_forecast as format_forecast
from interp.leads.onsets import align as align
from interp.leads.onsets import events as events
from interp.leads.onsets import lead_times as lead_times
from interp.leads.rank import rank_leads as rank_leads
from interp.leads.register import evaluate as evaluate
from interp.leads.register import lock as lock
from interp.leads.register import split_runs as split_runs
from interp.leads.spec import Spec as Spec
from interp.leads.spec import read_spec as read_spec

__all__ = [
    "Board",
    "Effects",
    "Spec",
    "align",
    "evaluate",
    "events",
    "forecast",
    "format_board",
    "format_forecast",
    "intervention_effects",
    "lead_times",
    "lock",
    "rank_leads",
    "read_spec",
    "split_runs",
]
