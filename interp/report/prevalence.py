"""How often curves jump: the section, its figure and its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from interp.engine.profile import stage
from interp.errors import InputError
from interp.figures import style
from interp.prevalence import Prevalence, prevalence
from interp.report.columns import Column, html_table, numbers, words
from interp.report.rows import records_of, rows_of
from interp.report.section import Material, Section, caption, figure_html, section

LEAST_TASKS = 2
N_PLANTED = 20  # of each kind and measure: power to .1, within the time that a page may take
KINDS = {"abrupt": style.ACCENT, "gradual": style.SETTING_COLOURS[0], "artefact": style.SETTING_COLOURS[2]}


def prevalence_section(material: Material) -> Section | str:
    """Where there are several tasks: shares by kind for each measure, and of jumps by size (else by suite or skill)."""
    if material.table["task"].nunique() < LEAST_TASKS:
        return "one task: how many of its runs jumped is said above"
    try:
        with stage("statistics"):
            found = prevalence(material.table, jumps=rows_of(material.jumps) or None, n_planted=N_PLANTED)
    except InputError as error:
        return str(error)
    shares, moderators = pd.DataFrame(list(found.shares)), pd.DataFrame(list(found.moderators))
    figure = prevalence_figure(found)
    text = (
        "Share of all behaviour curves (a run on a task) with an event, by kind and measure, with 95 % intervals over "
        "tasks, families and seeds. What was found is corrected for what the grids could have seen: changes of known "
        f"kind were planted on the curves' own checkpoints and noise ({N_PLANTED} of each kind and measure) and judged. "
        "An artefact of the measure is a jump that a continuous companion reproduces."
    )
    parts = [caption(text), figure_html("fig-prevalence", figure), _share_table(shares)]
    parts += ["<h3>What the grids can see</h3>", _power_table(found)]
    if len(moderators):
        note = (
            "p: the groups' shares differ as much when groups are dealt out at random to whole tasks, or to whole runs."
        )
        parts += ["<h3>What goes with it</h3>", caption(note), _moderator_table(moderators)]
    return section("prevalence", "Prevalence", _answer(found), "".join(parts),
                   prevalence=shares, moderators=moderators)  # fmt: skip


def _answer(found: Prevalence) -> str:
    """The share of curves that jump, of the measure that most curves are of."""
    rows = [row for row in found.shares if row["group"] == "all" and row["kind"] == "abrupt"]
    if not rows:
        return "how often cannot be told from these curves"
    most = max(rows, key=lambda row: row["n"])
    return f"{style.percent(most['share'])} of the curves of {style.pretty(str(most['measure']))} rise abruptly ({_interval(most)})"


def prevalence_figure(found: Prevalence) -> go.Figure:
    """A row a measure, or a measure and a group where there are groups: the share of each kind with its interval."""
    rows = [row for row in found.shares if row["kind"] in KINDS]
    rows += [{**row, "kind": "jump", "group": f"{row['moderator']} {row['group']}"} for row in found.moderators
             if row["moderator"] == "size"]  # fmt: skip
    labels = list(dict.fromkeys(_label(row) for row in rows))
    figure = go.Figure()
    for place, (kind, colour) in enumerate({**KINDS, "jump": style.INK}.items()):
        own = [row for row in rows if row["kind"] == kind]
        if not any(row["high"] > 0 for row in own):
            continue
        share = [row["share"] for row in own]
        figure.add_scatter(
            x=share,
            y=[labels.index(_label(row)) + 0.18 * (place - 1) * (kind != "jump") for row in own],
            mode="markers",
            name="any kind" if kind == "jump" else kind,
            marker={"color": colour, "size": 8},
            error_x={
                "array": [row["high"] - row["share"] for row in own],
                "arrayminus": [row["share"] - row["low"] for row in own],
                "color": colour,
                "thickness": 1.4,
                "width": 0,
            },
            text=[f"{_label(row)}: {kind}, {row['n']} curves" for row in own],
            hovertemplate="%{text}<br>%{x:.1%}<extra></extra>",
        )
    style.styled(figure, height=130 + 34 * len(labels), margin={"t": 24})
    figure.update_xaxes(title="share of curves", tickformat=".0%", range=[-0.01, 1.01])
    return figure.update_yaxes(tickvals=list(range(len(labels))), ticktext=labels, autorange="reversed", showgrid=False)


def _label(row: dict[str, Any]) -> str:
    name = style.pretty(str(row["measure"]))
    return name if row["group"] == "all" else f"{name}, {row['group']}"


def _interval(row: Mapping[str, Any]) -> str:
    return f"{style.percent(row['low'])} to {style.percent(row['high'])}"


_SHARE = (numbers("share", "share", show=style.percent), Column(head="95 % interval", text=_interval, sort=_interval))


def _share_table(shares: pd.DataFrame) -> str:
    found = numbers("as found", "observed", "before the correction", show=style.percent)
    columns = [words("measure", "measure"), words("kind", "kind"), *_SHARE, found, numbers("curves", "n")]
    return html_table(columns, records_of(shares))


def _power_table(found: Prevalence) -> str:
    columns = [
        words("measure", "measure"),
        words("planted", "kind"),
        numbers("found as a change", "detected", show=style.percent),
        numbers("found as its kind", "as_kind", show=style.percent),
        numbers("cannot be told", "undetermined", show=style.percent),
        numbers("planted changes", "n"),
    ]
    return html_table(columns, list(found.power))


def _moderator_table(moderators: pd.DataFrame) -> str:
    columns = [
        words("moderator", "moderator"),
        words("measure", "measure"),
        words("group", "group"),
        *_SHARE,
        numbers("curves", "n"),
        numbers("p", "p"),
    ]
    return html_table(columns, records_of(moderators))
