"""One figure for every headline number, from `results/*.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.study.drawing import Axis, Row, lines, rows_of_intervals, span, stacked
from experiments.study.told import KINDS, short, the_part
from interp.figures import style

PUBLISHED_COVERAGE = ((0.05, 0.41), (0.10, 0.56), (0.20, 0.74))  # GMB v0.5
PUBLISHED_CONCORDANCE = (0.52, 0.69)  # arXiv 2602.15997
PUBLISHED_FORECAST = (0.18, 0.31)  # hyper-parameters alone, leave-one-out on published grokking runs
MOST = 24  # rows of a figure


def figures(results: Mapping[str, Any], folder: Path) -> list[str]:
    """Write what the results allow, and remove what they do not; names in the order of the report."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {name: draw(results) for name, draw in DRAWN.items()}
    for path in folder.glob("*.svg"):
        if not made.get(path.stem):
            path.unlink()
    for name, text in made.items():
        if text:
            (folder / f"{name}.svg").write_text(text, encoding="utf-8")
    return [name for name, text in made.items() if text]


def _events(results: Mapping[str, Any]) -> str:
    rows: list[Row] = []
    settings = results["events"]["settings"]
    for family in dict.fromkeys(entry["family"] for entry in settings):
        rows.append(Row(name=short(family)))
        for entry in settings:
            if entry["family"] == family:
                name = f"{entry['setting']}: {entry['n_events']} of {entry['n_runs']}"
                group = "controls" if entry["control"] else "runs that jump (median, first, last)"
                ends = (
                    {"low": entry["first"], "high": entry["last"]} if entry["n_events"] else {"low": 1.0, "high": 1.0}
                )
                rows.append(Row(name=name, value=entry["median"], group=group, **ends))
    most = max(entry["budget"] for entry in settings)
    least = min([entry["first"] for entry in settings if entry["n_events"]] or [10])
    return rows_of_intervals(
        rows,
        title="When the behaviour jumps",
        axis=Axis(title="training step T (log scale)", low=max(min(least, 10), 1), high=most, log=True),
    )


def _gains(results: Mapping[str, Any]) -> str:
    found = the_part(results, "across")
    rows = [
        Row(name=row["indicator"], value=row["gain"], low=row["gain_low"], high=row["gain_high"], group=row["verdict"])
        for row in found["indicators"] if row["gain"] is not None
    ][:MOST]  # fmt: skip
    if not rows:
        return ""
    low, high = span([end for row in rows for end in (row.low, row.high)] + [found["margin"]], most=0.5)
    return rows_of_intervals(
        rows, title=f"What indicators add over {len(found['families'])} families",
        axis=Axis(title="gain over step, setting and trivial measures (bits a row; random effects, 95 %)", low=low, high=high),
        bands={"margin": (found["margin"],) * 2},
    )  # fmt: skip


def _one_rule(results: Mapping[str, Any]) -> str:
    found = the_part(results, "across")
    rows = []
    for row in [row for row in found["indicators"] if row.get("rule_gain") is not None][: MOST // 2]:
        rows.append(Row(name=row["indicator"]))
        for key, word in (("gain", "runs held out"), ("elsewhere", "whole family held out")):
            ends = {
                name: row.get(f"rule_{key}{end}") for name, end in (("value", ""), ("low", "_low"), ("high", "_high"))
            }
            rows.append(Row(name=word, group=word, **ends))
    if not rows:
        return ""
    low, high = span([end for row in rows for end in (row.low, row.high)], most=0.5)
    return rows_of_intervals(
        rows, title="One rule for all families", axis=Axis(title="gain (bits a row, 95 %)", low=low, high=high)
    )


def _coverage(results: Mapping[str, Any]) -> str:
    found = the_part(results, "across")
    series: dict[str, list[tuple[float, float]]] = {}
    for row in found["indicators"]:
        points = [
            (float(rate), share["coverage"])
            for rate, share in row.get("rule_coverage", {}).items()
            if share.get("coverage") is not None
        ]
        if points:
            series[row["indicator"]] = points
    best = sorted(series, key=lambda name: (-series[name][0][1], name))[:5]
    if not best:
        return ""
    published = "published (one study)"
    return lines(
        {name: series[name] for name in best} | {published: list(PUBLISHED_COVERAGE)},
        title="Jumps warned of with a threshold from the other families", x=Axis(title="nominal false-alarm rate", low=0, high=0.25),
        y=Axis(title="share of jumps covered", low=0, high=1), marked=(published,),
    )  # fmt: skip


def _concordance(results: Mapping[str, Any]) -> str:
    found = the_part(results, "timing")["together"]
    rows = [
        Row(name=row["indicator"], value=row["concordance"], low=row["low"], high=row["high"],
            group="trivial measures" if row["role"] == "baseline" else row["role"] + "s")
        for row in found if row["role"] != "hindsight"
    ][:MOST]  # fmt: skip
    if not rows:
        return ""
    return rows_of_intervals(
        rows, title="Which run of a setting jumps first", axis=Axis(title="concordance at half the median jump time (95 %)", low=0, high=1),
        bands={"published, within a setting": PUBLISHED_CONCORDANCE},
    )  # fmt: skip


def _forecast(results: Mapping[str, Any]) -> str:
    rows = []
    for entry in the_part(results, "timing")["forecast"]:
        rows.append(Row(name=f"{short(entry['family'])}, first {entry['share']:.0%} of the budget"))
        for key, word in (
            ("setting", "the setting alone"),
            ("trivial", "with the best trivial measure"),
            ("indicator", "with the best indicator"),
        ):
            rows.append(Row(name=word, value=entry[key], group=word))
    if not rows:
        return ""
    high = span([row.value for row in rows])[1]
    return rows_of_intervals(
        rows, title="Error of a forecast of T", axis=Axis(title="median |forecast / T − 1|", low=0, high=high),
        bands={"published, hyper-parameters alone": PUBLISHED_FORECAST},
    )  # fmt: skip


def _power(results: Mapping[str, Any]) -> str:
    found = the_part(results, "across")
    boards = the_part(results, "boards")
    rows = []
    for family, board in boards.items():
        best = max(
            (row for row in board["leaderboard"] if row["gain"] is not None), key=lambda row: row["gain"], default=None
        )
        if best is None:
            continue
        rows.append(Row(name=short(family)))
        rows.append(Row(name="the target itself", value=board["foresight"], group="foresight of the target"))
        word = "best indicator"
        rows.append(
            Row(name=best["indicator"], value=best["gain"], low=best["gain_low"], high=best["gain_high"], group=word)
        )
    if found["bound"] is not None:
        rows.append(Row(name="over families"))
        rows.append(
            Row(
                name="upper bound for any",
                low=0.0,
                high=found["bound"],
                value=found["bound"],
                group="bound (95 %, for all at once)",
            )
        )
    if not rows:
        return ""
    low, high = span([end for row in rows for end in (row.low, row.high, row.value)], most=1.0)
    return rows_of_intervals(
        rows, title="How little, or how much, the best of them adds", axis=Axis(title="bits a row", low=low, high=high)
    )


def _interventions(results: Mapping[str, Any]) -> str:
    rows: list[Row] = []
    effects = results["interventions"]["effects"]
    for family in dict.fromkeys(row["family"] for row in effects):
        rows.append(Row(name=short(family)))
        for row in effects:
            if row["family"] == family and row["effect"] is not None:
                group = "placebo" if row["is_placebo"] else row["verdict"]
                rows.append(
                    Row(
                        name=f"{row['setting']}{', under it' if row['under'] else ''} ({row['n']} pairs)",
                        value=row["effect"],
                        low=row["low"],
                        high=row["high"],
                        group=group,
                    )
                )
    if not rows:
        return ""
    low, high = span([end for row in rows for end in (row.low, row.high, row.value)], most=1.5)
    return rows_of_intervals(
        rows,
        title="What interventions do to the jump, where both runs of a pair have one",
        axis=Axis(title="shift of log10 T (decades; 95 %)", low=low, high=high),
    )


def _prevalence(results: Mapping[str, Any]) -> str:
    rows: list[tuple[str, dict[str, float]]] = []
    for key, where in (("prevalence", ""), ("prevalence_pythia", "Pythia: ")):
        shares = results.get(key, {}).get("shares", [])
        for measure in dict.fromkeys(row["measure"] for row in shares):
            own = {
                row["kind"]: row["share"] or 0.0 for row in shares if (row["measure"], row["group"]) == (measure, "all")
            }
            rows.append((f"{where}{measure}", {kind: own.get(kind, 0.0) for kind in KINDS}))
    colours = dict(
        zip(KINDS, (style.ACCENT, style.SETTING_COLOURS[0], style.SETTING_COLOURS[2], style.RULE), strict=True)
    )
    return (
        stacked(
            rows[:40],
            title="How curves of behaviour change",
            unit="share of curves that the grid can tell",
            colours=colours,
        )
        if rows
        else ""
    )


def _circuits(results: Mapping[str, Any]) -> str:
    found = [row for row in results["circuits"]["rows"] if row["n"]]
    rows = []
    for family in dict.fromkeys(row["family"] for row in found):
        rows.append(Row(name=short(family)))
        for criterion in ("weak", "strict"):
            own = [row for row in found if (row["family"], row["criterion"]) == (family, criterion)]
            if n := sum(row["n"] for row in own):
                rows.append(
                    Row(name=f"{n} runs", value=sum(row["before"] for row in own) / n, group=f"{criterion} criterion")
                )
    return (
        rows_of_intervals(
            rows,
            title="Circuits that were there before the behaviour rose",
            axis=Axis(title="share of runs", low=0, high=1),
        )
        if rows
        else ""
    )


DRAWN = {
    "events": _events, "gains": _gains, "power": _power, "one_rule": _one_rule, "coverage": _coverage, "concordance": _concordance,
    "forecast": _forecast, "interventions": _interventions, "circuits": _circuits, "prevalence": _prevalence,
}  # fmt: skip
