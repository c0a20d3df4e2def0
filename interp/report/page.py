"""The report: one HTML page that opens from disk and loads nothing from anywhere."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs

import interp
from interp.engine.profile import stage
from interp.errors import InputError
from interp.report import assets
from interp.report.board import read_board
from interp.report.formation import Circuits
from interp.report.headline import cards, headline
from interp.report.onsets import COLUMNS as ONSET_COLUMNS
from interp.report.onsets import onset_data
from interp.report.outcomes import jump_frame, outcomes, target_curves
from interp.report.rows import rows_of
from interp.report.section import ASKS, Material, Section
from interp.report.sections import sections
from interp.report.sources import Source, read_source

COMPUTE = "compute"
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def write_report(
    source: str | Path | pd.DataFrame,
    out_html: str | Path | None = None,
    *,
    jumps: Any = COMPUTE,
    board: Any = COMPUTE,
    onsets: Any = COMPUTE,
    circuits: Circuits | None = None,
    forecast: Any = COMPUTE,
    provenance: Mapping[str, Any] | None = None,
    controls: Collection[str] | None = None,
    csv: bool = False,
) -> Path:
    """Write the page and return its path.

    source: a run directory, or a table (DataFrame, CSV, Parquet, folder of evaluation logs).
    out_html: default `report.html` in the run directory, or beside the table.
    jumps, board, onsets: what `find_jumps`, `rank_leads` and `onset_data` gave; by default they are computed here, None
        leaves them out.
    circuits: (run, task) → {step: circuit JSON}; by default those of the run directory.
    forecast: what `interp.leads.forecast` gave for a run in progress; by default of the run that has got furthest
        without having reached its planned number of steps, if there is one.
    provenance: added to what the run directory records.
    controls: the settings that are not meant to jump; by default those whose name says so
    (`interp.report.run_styles`).
    csv: also write the data of each figure as CSV to the folder `<page>_data`.
    """
    found = read_source(source)
    path = Path(out_html) if out_html else _beside(source)
    reasons: dict[str, str] = {}
    if isinstance(jumps, str) and jumps == COMPUTE:
        jumps = _jumps(found.table, reasons)
    jumps = jump_frame(jumps)
    if isinstance(board, str) and board == COMPUTE:
        board = _board(found.table, jumps, reasons)
    if isinstance(onsets, str) and onsets == COMPUTE:
        onsets = onset_data(found.table, jumps)
    if isinstance(forecast, str) and forecast == COMPUTE:
        forecast = _forecast(found.table)
    board = read_board(board)
    material = Material(
        table=found.table,
        jumps=jumps,
        board=board,
        found={curve: outcomes(found.table, jumps, *curve) for curve in target_curves(found.table, board)},
        onsets=pd.DataFrame(columns=ONSET_COLUMNS) if onsets is None else onsets,
        circuits=_of_table(found.circuits if circuits is None else circuits, found.table),
        forecast=forecast,
        controls=controls,
        failures=found.failures,
        provenance={**found.provenance, **(provenance or {})},
        reasons=reasons,
    )
    shown, left_out = sections(material)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(found, material, shown, left_out), encoding="utf-8")
    if csv:
        _write_data(path.with_name(f"{path.stem}_data"), shown)
    return path


def _beside(source: str | Path | pd.DataFrame) -> Path:
    if isinstance(source, pd.DataFrame):
        raise InputError("a DataFrame has no folder: say where the page goes, as in write_report(table, 'report.html')")
    path = Path(source)
    return path / "report.html" if path.is_dir() else path.with_suffix(".report.html")


def _of_table(circuits: Circuits, table: pd.DataFrame) -> Circuits:
    """The circuits of runs that the table has."""
    runs = set(table["run"].unique())
    return {(run, task): steps for (run, task), steps in circuits.items() if run in runs}


@stage("statistics")
def _jumps(table: pd.DataFrame, reasons: dict[str, str]) -> Any:
    from interp.jumps import find_jumps

    try:
        return find_jumps(table)
    except InputError as error:
        reasons["jumps"] = str(error)
        return None


@stage("statistics")
def _board(table: pd.DataFrame, jumps: pd.DataFrame, reasons: dict[str, str]) -> Any:
    if not (table["kind"] == "indicator").any():
        reasons["board"] = "the table holds no indicators"
        return None
    from interp.leads import rank_leads

    try:
        return rank_leads(table, jumps=rows_of(jumps) or None)
    except InputError as error:
        reasons["board"] = str(error)
        return None


@stage("statistics")
def _forecast(table: pd.DataFrame) -> Any:
    """The forecast of the run in progress, where indicators and a planned number of steps say that there is one."""
    at = table.groupby("run").agg(step=("step", "max"), budget=("budget", "first"))
    going = at[at["step"] < at["budget"]]
    if going.empty or not (table["kind"] == "indicator").any():
        return None
    from interp.leads import forecast

    try:
        return forecast(table, str((going["step"] / going["budget"]).idxmax()))
    except InputError:
        return None


def _write_data(folder: Path, shown: list[Section]) -> None:
    folder.mkdir(exist_ok=True)
    for section in shown:
        for name, data in section.data.items():
            data.to_csv(folder / f"{name}.csv", index=False)


def _page(found: Source, material: Material, shown: list[Section], left_out: list[tuple[str, str]]) -> str:
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    body = "".join(
        f'<section id="{s.id}" aria-labelledby="{s.id}-answer"><p class="asks">{escape(ASKS.get(s.id, s.nav))}</p>'
        f'<h2 id="{s.id}-answer">{escape(s.title)}</h2>{s.html}</section>'
        for s in shown
    )
    links = "".join(f'<a href="#{s.id}">{escape(s.nav)}</a>' for s in shown)
    missing = "".join(f"<li>{escape(title)}: {escape(reason)}.</li>" for title, reason in left_out)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(found.name)}: jumps and leads</title>
<style>{assets.CSS}</style></head>
<body><a class="skip" href="#content">Skip to the content</a><nav aria-label="sections"><div><b>{escape(found.name)}</b>{links}</div></nav>
<main id="content"><header><p class="eyebrow">{escape(_scope(found.table))}</p>
<h1>{_headline_html(found, material)}</h1>{_cards_html(material)}</header>
{body}
{f'<section class="left-out"><h2>Left out</h2><ul>{missing}</ul></section>' if missing else ""}
<footer>Made by interp {escape(interp.__version__)} on {made}. Nothing on this page is loaded from
elsewhere.</footer></main> <script>{get_plotlyjs()}</script>
<script>{assets.JS}</script>
</body></html>
"""


def _scope(table: pd.DataFrame) -> str:
    """Families and tasks on one line."""
    families = [name for name in table["family"].unique() if name]
    tasks = list(table["task"].unique())
    parts = [
        ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        for names in (families, tasks)
        if names
    ]
    return " · ".join(parts)


def _headline_html(found: Source, material: Material) -> str:
    """The sentence, what was found set large and what follows from it smaller."""
    sentence = headline(found.table, material.jumps, material.board, controls=material.controls, onsets=material.onsets)
    first, _, rest = sentence.rstrip(".").partition("; ")
    return f"{escape(first)}." + (f'<span class="rest">{escape(rest[0].upper() + rest[1:])}.</span>' if rest else "")


def _cards_html(material: Material) -> str:
    shown = cards(
        material.table, material.jumps, material.board, controls=material.controls, n_failures=len(material.failures)
    )
    return (
        '<div class="cards">'
        + "".join(f'<div class="card"><b>{escape(v)}</b><span>{escape(t)}</span></div>' for v, t in shown)
        + "</div>"
    )
