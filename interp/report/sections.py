"""The page's sections, top to bottom: each a title, captions that say how to read it, figures, and their data.

A section without data gives the reason in one line instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from interp.figures import style
from interp.figures.circuit import circuit_data, draw_circuits
from interp.report import tables
from interp.report.aligned import MAX_PANELS, aligned_data, aligned_figure
from interp.report.answers import strongest, tally, what_carries, what_changed, what_moved, when_they_jump
from interp.report.behaviour import MAX_RUNS, behaviour_data, behaviour_figure
from interp.report.formation_section import formation_section
from interp.report.heatmap import heatmap_data, heatmap_figure, heatmap_limit, heatmap_measure
from interp.report.jump_step import jump_step_data, jump_step_figure
from interp.report.leads_section import leads_section
from interp.report.outcomes import behaviour, jump_frame, run_styles
from interp.report.parts import parts_section
from interp.report.prevalence import prevalence_section
from interp.report.rows import rows_of
from interp.report.section import Material, Section, caption, figure_html, section
from interp.report.sources import as_yaml

MAX_DRAWN = 12
MAX_ENTRIES = 1000
"""Rows of the table of jumps: .4 MB."""


def sections(material: Material) -> tuple[list[Section], list[tuple[str, str]]]:
    """The sections that the data allow, and (title, reason) of those left out."""
    rooms: dict[str, Callable[[Material], Section | str]] = {
        "Behaviour over training": _behaviour,
        "Behaviour part by part": parts_section,
        "Indicators aligned on the jump": _aligned,
        "How often curves jump": prevalence_section,
        "The circuit forming, component by component": _heatmap,
        "When runs jump": _jump_step,
        "When the circuit formed": formation_section,
        "The circuit drawn": _circuits,
        "Leads": leads_section,
        "Jumps": _jumps,
        "Failures": _failures,
        "Provenance": _provenance,
    }
    made = {title: room(material) for title, room in rooms.items()}
    shown = [section for section in made.values() if isinstance(section, Section)]
    return shown, [(title, reason) for title, reason in made.items() if isinstance(reason, str)]


def _behaviour(material: Material) -> Section | str:
    curves = behaviour(material.table)
    if not curves["value"].notna().any():
        return "the table holds no value of any behaviour"
    n = curves["run"].nunique()
    text = "Each line is a run; the step axis is logarithmic, with step 0 set half a first step before it. "
    if jump_frame(material.jumps).empty:
        text += "No jump has been looked for, so none is marked."
    else:
        told = "; ".join(
            f"{task}, {style.pretty(m)}: {tally(found)}" for (task, m), found in list(material.found.items())[:3]
        )
        text += (
            "Bars below run from the last checkpoint under 10 % of the rise to the first over 90 %; an open "
            "triangle marks a run that was "
            f"followed to there without a jump; the band is the median interval. {told}."
        )
    if n > MAX_RUNS:
        text += f" {MAX_RUNS} of the {n} runs are drawn, evenly chosen."
    n_curves = len(curves[["task", "measure"]].drop_duplicates())
    figure = behaviour_figure(material.table, material.jumps, controls=material.controls)
    menus = figure.layout.updatemenus
    shown = len(menus[0].buttons) if menus else 1
    if n_curves > shown:
        text += f" {shown} of {n_curves} tasks and measures can be chosen, those with most jumps first."
    html = caption(text) + figure_html("fig-behaviour", figure)
    return section(
        "behaviour",
        "Behaviour",
        what_changed(material),
        html,
        behaviour=behaviour_data(material.table, material.jumps),
    )


def _aligned(material: Material) -> Section | str:
    table = material.table
    n_indicators = table.loc[table["kind"] == "indicator", "measure"].nunique()
    if n_indicators == 0:
        return "the table holds behaviour only, no indicators"
    found = material.found
    curve = max(found, key=lambda c: int(found[c]["jumped"].sum()), default=None)
    if curve is None or not found[curve]["jumped"].any():
        return "no run jumped, so there is no jump to align on"
    data = aligned_data(table, material.jumps, board=material.board, target=curve)
    n_panels = data["indicator"].nunique() - 1 if len(data) else 0
    if n_panels < 1:
        return "no indicator was measured on the runs that jumped"
    jumped = int(found[curve]["jumped"].sum())
    text = (
        f"The step axis of each run is divided by its own T, the last checkpoint below 10 % of the rise of "
        f"{style.pretty(curve[1])} on {curve[0]}"
        f" ({jumped} {'run' if jumped == 1 else 'runs'}; censored runs have no T and are not here). Every curve "
        f"is rescaled to its own range in its run, so"
        " direction and timing can be compared, sizes cannot. A curve that has moved left of the line moved "
        "before the behaviour did; whether"
        " that is more than a clock is the question of the leads below."
    )
    if n_indicators > MAX_PANELS:
        text += f" {n_panels} of {n_indicators} indicators are drawn."
    figure = aligned_figure(table, material.jumps, board=material.board, target=curve, data=data)
    html = caption(text) + figure_html("fig-aligned", figure)
    return section("aligned", "Indicators", what_moved(material, curve), html, aligned=data)


def _heatmap(material: Material) -> Section | str:
    measure = heatmap_measure(material.table)
    data = heatmap_data(material.table, measure=measure) if measure else pd.DataFrame()
    if measure is None or data.empty:
        return "the table holds no patching effect of components (L0H1, L0.mlp …)"
    unit = next((str(u) for u in material.table.loc[material.table["measure"] == measure, "unit"] if str(u)), "")
    text = (
        f"What each head and MLP carries, by {style.pretty(measure)}{f' ({unit})' if unit else ''}: blue helps "
        f"the right answer, red hurts it. "
        "Choose a run above and a checkpoint below: the dark line on the left stands at that checkpoint, the "
        "grid on the right shows its heads × layers. "
        f"Dashed lines are the run's jump interval. Colours have one scale for all runs "
        f"({data['run'].nunique()} measured), cut at {style.number(heatmap_limit(data), 2)}, so that no single run fills it."
    )
    html = caption(text) + figure_html(
        "fig-heatmap", heatmap_figure(material.table, material.jumps, measure=measure, controls=material.controls)
    )
    return section("components", "Components", what_carries(material, data), html, components=data)


def _jump_step(material: Material) -> Section | str:
    if jump_frame(material.jumps).empty:
        return "no jump has been looked for"
    data = jump_step_data(material.table, material.jumps)
    if data.empty:
        return "the table holds no behaviour"
    if data["run"].nunique() < 2:
        return "there is one run only, so nothing to compare"
    told = "; ".join(f"{task}: {tally(part)}" for task, part in list(data.groupby("task", sort=False))[:3])
    text = (
        "One bar a run, from the last checkpoint before its jump to the first after, with the midpoint as a "
        "dot. Open arrows are runs that had not "
        f"jumped when they were last looked at: their jump, if any, is later (censored). {told}."
    )
    html = caption(text) + figure_html(
        "fig-jump-step", jump_step_figure(material.table, material.jumps, controls=material.controls)
    )
    return section("when", "When", when_they_jump(material), html, jump_step=data)


def _circuits(material: Material) -> Section | str:
    if not material.circuits:
        return "no circuits were stored"
    styles = run_styles(material.table, material.controls)
    jumped = {
        (str(row.run), task): (row.step_before, row.step_after)
        for (task, _), part in material.found.items()
        for row in rows_of(part)
        if row.jumped
    }
    several = len({task for _, task in material.circuits}) > 1
    curves = sorted(material.circuits, key=lambda key: (key not in jumped, styles[key[0]].order, key))[:MAX_DRAWN]
    names = {key: f"{key[0]} · {key[1]}" if several else key[0] for key in curves}
    trajectories = {names[key]: dict(material.circuits[key]) for key in curves}
    marks = {names[key]: _marks(sorted(material.circuits[key]), *jumped[key]) for key in curves if key in jumped}
    measure, courses = _courses(material, names)
    figure = draw_circuits(trajectories, marks=marks, beside=courses, beside_title=style.pretty(measure))
    data = pd.concat(
        [circuit_data(dict(material.circuits[key])).assign(run=key[0], task=key[1]) for key in curves],
        ignore_index=True,
    )
    how = (
        "Play it, or move the slider, to watch it form beside the behaviour below"
        if any(len(one) > 1 for one in trajectories.values())
        else "One checkpoint"
    )
    more = f" {MAX_DRAWN} of {len(material.circuits)} can be chosen." if len(material.circuits) > MAX_DRAWN else ""
    text = (
        f"{how}{'; choose the run above' if len(curves) > 1 else ''}. Layers go up, heads across, MLPs are squares; blue "
        f"helps the metric, red hurts it, width and colour share one scale over all runs and checkpoints, on which a run far "
        "above the others is cut. "
        f"{_about_edges(material, data)}{more}"
    )
    html = caption(text) + figure_html("fig-circuit", figure)
    return section("circuit", "Circuit", strongest(data, curves[0]), html, circuit=data)


def _courses(material: Material, names: Mapping[tuple[str, str], str]) -> tuple[str, dict[str, Any]]:
    """The behaviour that is judged, and its curve (steps, values) in each of the runs, where all of them have it."""
    measures = {measure for task, measure in material.found if task in {task for _, task in names}}
    curves = behaviour(material.table)
    for measure in sorted(measures):
        own = curves[curves["measure"] == measure].sort_values("step")
        by_run = {key: part for key, part in own.groupby(["run", "task"]) if part["value"].notna().any()}
        if names.keys() <= by_run.keys():
            return measure, {shown: (by_run[key]["step"], by_run[key]["value"]) for key, shown in names.items()}
    return "", {}


def _about_edges(material: Material, data: pd.DataFrame) -> str:
    if not (data["kind"] == "edge").any():
        return "The method scores nodes only, so there are no edges."
    if any("formation" in circuit for one in material.circuits.values() for circuit in one.values()):
        return "Edges are those that 80 % faithfulness needs; where no part of the ranking reaches it, the strongest of all."
    return "Weak edges are left out."


def _marks(steps: list[float], before: float, after: float) -> dict[float, str]:
    """The last of the steps before a jump, and the first after."""
    found = {max((step for step in steps if step <= before), default=-1.0): "before the jump"}
    return found | {min((step for step in steps if step >= after), default=-1.0): "after the jump"}


def _jumps(material: Material) -> Section | str:
    frame = jump_frame(material.jumps)
    if frame.empty:
        return material.reasons.get("jumps", "no jump has been looked for")
    measures = set(material.table.loc[material.table["kind"] == "behaviour", "measure"])
    part = frame[frame["measure"].isin(measures)]
    changed = part["kind"].isin(["abrupt", "gradual"])
    events = int(changed.sum())
    if len(part) > MAX_ENTRIES:
        part = part.iloc[np.argsort(~changed.to_numpy(), kind="stable")]
    text = (
        f"{len(part)} entries of behaviour curves, {events} of them jumps (marked). Intervals are bounded by "
        f"checkpoints; “undetermined” means "
        "that the curve could not be judged, for the reason given."
    )
    if len(part) > MAX_ENTRIES:
        text += f" {MAX_ENTRIES} are shown, jumps first; all are in `interp jumps --json`."
    html = (
        f'{caption(text)}<div><input class="filter" type="search" placeholder="filter rows" aria-label="filter rows">'
        f"{tables.jumps_table(part.head(MAX_ENTRIES))}</div>"
    )
    return section("jumps", "Jumps", f"{events} jumps in {len(part)} entries of behaviour curves", html, jumps=frame)


def _failures(material: Material) -> Section | str:
    if not material.failures:
        return "nothing failed"
    n = len(material.failures)
    what, them = ("measurement", "it") if n == 1 else ("measurements", "them")
    text = f"{n} {what} failed; everything above is computed without {them}."
    return section(
        "failures", "Failures", f"{n} {what} failed", caption(text) + tables.failures_table(material.failures)
    )


def _provenance(material: Material) -> Section:
    short, long = [], []
    for name, value in material.provenance.items():
        text = as_yaml(value).strip()
        if "\n" in text and not isinstance(value, Mapping):
            long.append(f"<details><summary>{escape(str(name))}</summary><pre>{escape(text)}</pre></details>")
        else:
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else text
            short.append(f"<dt>{escape(str(name))}</dt><dd>{escape(shown)}</dd>")
    return section("provenance", "Provenance", "Provenance", f"<dl>{''.join(short)}</dl>{''.join(long)}")
