"""The report: what was found, as one HTML page, and its figures for notebooks.

Everything here is a function of files and tables; nothing imports torch.
"""

from __future__ import annotations

from interp.figures.circuit import circuit_data, draw_circuit, draw_circuits
from interp.report.aligned import aligned_data, aligned_figure
from interp.report.behaviour import behaviour_data, behaviour_figure
from interp.report.formation import formation_data, trajectory_data
from interp.report.formation_figures import formation_figure, trajectory_figure
from interp.report.headline import headline
from interp.report.heatmap import heatmap_data, heatmap_figure
from interp.report.jump_step import jump_step_data, jump_step_figure
from interp.report.leads import leads_figures
from interp.report.onsets import onset_data
from interp.report.outcomes import outcomes, run_styles
from interp.report.page import write_report

__all__ = [
    "aligned_data",
    "aligned_figure",
    "behaviour_data",
    "behaviour_figure",
    "circuit_data",
    "draw_circuit",
    "draw_circuits",
    "formation_data",
    "formation_figure",
    "headline",
    "heatmap_data",
    "heatmap_figure",
    "jump_step_data",
    "jump_step_figure",
    "leads_figures",
    "onset_data",
    "outcomes",
    "run_styles",
    "trajectory_data",
    "trajectory_figure",
    "write_report",
]
