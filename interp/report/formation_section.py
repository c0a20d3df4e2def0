"""The page's section on when circuits formed: words, figures and table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from interp.figures import style
from interp.report.columns import Column, html_table, numbers, words
from interp.report.formation import HINDSIGHT, formation_data, trajectory_data
from interp.report.formation_figures import (
    MAX_RUNS,
    MAX_TRAJECTORIES,
    between,
    formation_figure,
    trajectory_figure,
)
from interp.report.rows import records_of
from interp.report.section import Material, Section, caption, figure_html, section


def formation_section(material: Material) -> Section | str:
    if not material.circuits:
        return "no circuits were stored"
    found = formation_data(material.circuits, material.table, material.jumps)
    if found.empty:
        return "the circuits that were stored were not tried on other prompts"
    course = trajectory_data(material.circuits, material.table)
    if course["step"].nunique() == 1:
        return "circuits were looked for at one checkpoint; a formation takes several"
    more = f" {MAX_RUNS} of the {len(found)} runs are drawn, evenly chosen." if len(found) > MAX_RUNS else ""
    first = (
        f"{verdict_of(found)} A circuit has formed when, on prompts that it was not found on, its own edges alone prefer "
        "the right answer where the corrupt run prefers the wrong one, on more than 62.5 % of them (chance carries 25 %), "
        "at two checkpoints in a row; nothing later is used. The thin line is the 95 % band over resampled prompts. The "
        f"interval is as fine as the checkpoints at which circuits were looked for.{more}"
    )
    second = (
        "One run, chosen above; blue is the formation interval, orange the jump of the behaviour. Read the similarity "
        "against the noise floor, that between the circuits of two disjoint sets of prompts at the same checkpoint: at "
        "the floor, nothing has changed that can be told from the choice of prompts. Roles are those of the head that "
        "has most of each, whichever it is (in the hover)."
    )
    if (course["quantity"] == HINDSIGHT).any():
        second += " Dotted, and in hindsight: the faithfulness at each checkpoint of the edges of the final circuit."
    if len(found) > MAX_TRAJECTORIES:
        second += f" {MAX_TRAJECTORIES} of {len(found)} can be chosen."
    html = (
        caption(first)
        + figure_html("fig-formation", formation_figure(found, material.table, controls=material.controls))
        + formation_table(found)
        + "<h3>The circuit over the steps</h3>"
        + caption(second)
        + figure_html(
            "fig-formation-course",
            trajectory_figure(course, found, material.table, controls=material.controls),
        )
    )
    return section("formed", "Formation", _answer(found), html, formation=found, circuit_course=course)


def _answer(found: pd.DataFrame) -> str:
    formed, both = found["formed_after"].notna(), found["formed_after"].notna() & found["jumped"].astype(bool)
    text = f"the circuit formed in {int(formed.sum())} of {len(found)} {'run' if len(found) == 1 else 'runs'}"
    before = int((found.loc[both, "lead_steps"] >= 0).sum())
    return (
        f"{text}, before the behaviour rose in {before} of the {int(both.sum())} that also jumped"
        if both.any()
        else text
    )


def verdict_of(found: pd.DataFrame) -> str:
    """In how many runs it formed, and whether before the behaviour showed it."""
    formed, jumped = found["formed_after"].notna(), found["jumped"].astype(bool)
    what = "run" if len(found) == 1 else "runs"
    text = f"The circuit formed in {int(formed.sum())} of {len(found)} {what}."
    both = found[formed & jumped]
    for what, column in (
        ("it was lost again", "lost_after"),
        ("another circuit took over the same prompts", "replaced_after"),
    ):
        if n := int(found[column].notna().sum()):
            text += f" In {n} of {len(found)} {what}."
    if both.empty:
        return text
    before = int((both["lead_steps"] >= 0).sum())
    same = int((both["formed_after"] == both["model_after"]).sum())
    after = int((both["formed_before"] >= both["jump_after"]).sum())
    text += (
        f" Of the {len(both)} that also jumped, it had formed by the last checkpoint before the behaviour rose in "
        f"{before}, after the jump in {after}; in {len(both) - before - after} the two intervals overlap, so that the "
        "order cannot be told."
    )
    if before:
        ahead = both.loc[both["lead_steps"] >= 0, "lead_steps"].median()
        text += f" Where it came first, it was at least {style.number(round(float(ahead)))} steps ahead (median)."
    strict = both[both["strict_after"].notna()]
    if len(strict):
        ahead = int((strict["strict_lead_steps"] >= 0).sum())
        text += (
            " By the strict criterion, the one that behaviour is judged by (the circuit alone gives the right answer among "
            f"all), it was there by that checkpoint in {ahead} of {len(strict)}."
        )
    return text + (
        " The behaviour may ask for more than the right answer before one wrong one: by the circuit's own criterion the "
        f"whole model was there at the same checkpoint as the circuit in {same} of the {len(both)}."
    )


def formation_table(found: pd.DataFrame) -> str:
    """One row a run: when its circuit formed, how sure that is, and when the behaviour jumped."""
    columns = [
        words("run", "run"),
        *([words("task", "task")] if found["task"].nunique() > 1 else []),
        _interval("circuit formed", "formed", "last checkpoint before, first after"),
        _interval("95 % band", "band", "the same over resampled prompts"),
        _interval("lost", "lost", "last checkpoint with the circuit, first without; – where it stayed"),
        _interval(
            "replaced",
            "replaced",
            "first time that the circuit of one checkpoint no longer carries the prompts at the next, whose own does",
        ),
        _interval(
            "answers alone", "strict", "strict: the circuit alone gives the right answer among all, as behaviour asks"
        ),
        _interval("whole model", "model", "by the same criterion: the right answer preferred to one wrong one"),
        numbers("known at", "declared_at", "the checkpoint at which it could be said: the second above the threshold"),
        numbers("resamplings", "share", "share of the resampled sets of prompts that have a formation", style.percent),
        _interval("behaviour jumped", "jump", "last checkpoint below 10 % of the rise, first above 90 %"),
        numbers(
            "lead ≥, steps",
            "lead_steps",
            "at least: from the end of the formation to the start of the jump; negative where they overlap",
        ),
        Column(
            head="edges",
            note="needed for 80 % faithfulness when it had formed (else at the end), of all",
            numeric=True,
            text=lambda row: f"{style.number(row['edges'])} of {style.number(row['total_edges'])}",
            sort=lambda row: row["edges"],
        ),
        numbers(
            "noise floor", "noise_floor", "similarity of the circuits of two sets of prompts, at the same checkpoint"
        ),
    ]
    return html_table(columns, records_of(found), mark=lambda row: row["lead_steps"] >= 0)


def _interval(head: str, name: str, note: str) -> Column:
    def text(row: Mapping[str, Any]) -> str:
        before, after = row[f"{name}_before"], row[f"{name}_after"]
        return between(before, after).replace("between steps ", "").replace(" and ", " to ") if after == after else "–"

    return Column(head=head, note=note, numeric=True, text=text, sort=lambda row: row[f"{name}_after"])
