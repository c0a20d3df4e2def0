"""What the report says of indicators: fills of `report.in.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.study.told import ends, grid, has_held_out, listed, num, picture, plural, share, short, the_part

MOST = 16  # rows of a table in the text; the JSON has them all
FIRST = "0.05"  # the false-alarm rate that the text speaks of


def indicators(results: Mapping[str, Any], drawn: Sequence[str]) -> dict[str, str]:
    """The fills of 5.2 to 5.5."""
    return {
        "over_families": _over_families(results)
        + _secondary(results.get("secondary_held_out", []))
        + picture("gains", drawn, "mean gains over families"),
        "by_family": _by_family(results)
        + picture("power", drawn, "the best indicator, the target's foresight and the bound"),
        "transfer": _transfer(results)
        + picture("one_rule", drawn, "gain of one rule, with runs and with families held out")
        + picture("coverage", drawn, "coverage with thresholds from other families"),
        "concordance": _concordance(the_part(results, "timing")["together"]),
        "forecast": _forecast(the_part(results, "timing")["forecast"])
        + picture("concordance", drawn, "concordance within a setting")
        + picture("forecast", drawn, "error of forecasts"),
    }


def _over_families(results: Mapping[str, Any]) -> str:
    found = the_part(results, "across")
    told = ["Held-out runs." if has_held_out(results) else "**Exploring runs only.**"]
    power, worth = found["power"], found["foresight"]
    if not any(row["gain"] is not None for row in found["indicators"]):
        told.append(
            "**No mean is defined here**: a family's gain needs ten runs that jump, and a mean needs three families."
        )
    if worth["mean"] is not None:
        told.append(
            f"The target's own value is worth {num(worth['mean'])} bits a row {ends(worth['low'], worth['high'])} over step and setting."
        )
    seen = listed([f"{short(name)} {share(x)}" for name, x in power["by_family"].items() if x is not None])
    if power["over_families"] is not None:
        told.append(
            f"Over families {share(power['over_families'])} of the planted leaders are seen "
            f"(median gain {num(power['median_gain'])} bits a row)."
        )
    told.append(f"In single families: {seen}. The margin is {num(found['margin'])} bits a row.")
    rows = [
        [
            f"`{row['indicator']}`",
            row["verdict"],
            f"{num(row['gain'])} {ends(row['gain_low'], row['gain_high'])}",
            num(row["p_fwer"]),
            share(row["i2"]),
            f"{share(row['coverage'])} / {share(row['false'])}",
            share(row["median_lead"]),
            num(row["cost"]),
        ]
        for row in found["indicators"][:MOST]
    ]
    head = ["indicator", "verdict", "gain, bits a row (95 %)", "family-wise p", "I²", "jumps covered / runs falsely alarmed", "median lead",
            "cost, passes"]  # fmt: skip
    cut = (
        f"\n\nThe first {MOST} of {len(found['indicators'])}; the rest is in `results/`."
        if len(found["indicators"]) > MOST
        else ""
    )
    return f"{' '.join(told)}\n\n{grid(head, rows)}{cut}"


def _secondary(rows: Sequence[Mapping[str, Any]]) -> str:
    """The most that indicators outside the shortlist add: a line, no verdicts."""
    known = [row for row in rows if row["gain"] is not None]
    if not known:
        return ""
    most = [f"`{row['indicator']}` {num(row['gain'])} {ends(row['gain_low'], row['gain_high'])}" for row in known[:5]]
    return (
        f"\n\nOutside the shortlist, as description without a verdict: of {plural(len(rows), 'indicator')} the most is added by "
        f"{listed(most)}; the best of many is flattered."
    )


def _by_family(results: Mapping[str, Any]) -> str:
    rows, led = [], {}
    for family, board in the_part(results, "boards").items():
        own = board["leaderboard"]
        leading = [row["indicator"] for row in own if row["verdict"] == "leading"]
        for name in leading:
            led.setdefault(name, []).append(short(family))
        best = max((row for row in own if row["gain"] is not None), key=lambda row: row["gain"], default=None)
        most = (
            f"`{best['indicator']}` {num(best['gain'])} {ends(best['gain_low'], best['gain_high'])}"
            if best
            else board["no_gain"]
        )
        needed = [row["runs_needed"] for row in own if row["verdict"] == "undetermined" and row["runs_needed"]]
        dull = sum(row["verdict"] == "not leading" for row in own)
        rows.append([
            short(family), f"{board['n_events']} of {board['n_runs']}", listed(leading), f"{dull} of {len(own)}", most,
            num(board["foresight"]), share(board["planted_seen"]), f"{min(needed)}–{max(needed)}" if needed else "–",
        ])  # fmt: skip
    head = ["family", "runs that jump", "leading", "not leading", "most gain, bits a row", "the target's own", "planted leaders seen",
            "runs that would decide"]  # fmt: skip
    twice = [f"`{name}` ({listed(where)})" for name, where in sorted(led.items()) if len(where) > 1]
    said = (
        f"Leading in two families or more: {listed(twice)}."
        if twice
        else "No indicator leads in two families by their own boards."
    )
    return f"Each family has a board of its own (`results/boards_*.json`). {said}\n\n{grid(head, rows)}"


def _transfer(results: Mapping[str, Any]) -> str:
    found = the_part(results, "across")
    return " ".join(
        filter(None, (_agreement(found["agreement"]), _rule(found["indicators"]), _covered(found["indicators"])))
    )


def _agreement(agree: Mapping[str, Any] | None) -> str:
    if agree is None or agree["mean"] is None:
        return "Gains are defined in too few families to ask whether their orders agree."
    by = listed([f"{short(name)} {num(x)}" for name, x in agree["by_family"].items() if x is not None])
    says = (
        "what leads elsewhere says something of what leads here"
        if agree["p"] <= 0.05
        else "that what leads elsewhere leads here is not shown"
    )
    return (
        f"The gains of a family agree with the mean ranks of the others at ρ = {num(agree['mean'])} on average "
        f"(p {num(agree['p'])}; {by}): {says}."
    )


def _rule(rows: Sequence[Mapping[str, Any]]) -> str:
    rows = [row for row in rows if row.get("rule_elsewhere") is not None]
    if not rows:
        return ""
    sure = [
        row["indicator"]
        for row in rows
        if row["rule_elsewhere_low"] > 0 and (row["rule_elsewhere_p_fwer"] or 1) <= 0.05
    ]
    told = [
        row
        for row in rows
        if row["rule_gain_low"] > 0 and row["rule_p_fwer"] is not None and row["rule_p_fwer"] <= 0.05
    ]
    best, which = max(rows, key=lambda row: row["rule_elsewhere"]), f": {listed(sure)}" if sure else ""
    return (
        f"With one rule for all families and runs held out, {len(told)} of {len(rows)} indicators add to the baseline beyond the exchanged "
        f"series of other runs; with the rule learned on other families alone, {len(sure)} do{which}. "
        f"The most is {num(best['rule_elsewhere'])} bits a row {ends(best['rule_elsewhere_low'], best['rule_elsewhere_high'])}, by "
        f"`{best['indicator']}`, chosen among all and flattered by that (family-wise p {num(best['rule_elsewhere_p_fwer'])})."
    )


def covered_at(rows: Sequence[Mapping[str, Any]], rate: str) -> list[tuple[Mapping[str, Any], str]]:
    """(shares, indicator) where coverage with thresholds from other families is defined at a rate."""
    found = [(row.get("rule_coverage", {}).get(rate, {}), row["indicator"]) for row in rows]
    return [(told, name) for told, name in found if told.get("coverage") is not None]


def _covered(rows: Sequence[Mapping[str, Any]]) -> str:
    found = covered_at(rows, FIRST)
    if not found:
        return ""
    told, name = max(found, key=lambda pair: (pair[0]["coverage"], pair[1]))
    return (
        f"With thresholds from other families at a nominal false-alarm rate of .05, `{name}` covers most: "
        f"{share(told['coverage'])} of the jumps "
        f"{ends(told['coverage_low'], told['coverage_high'], share)}, with false alarms in {share(told['false'])} of the runs "
        f"{ends(told['false_low'], told['false_high'], share)}. Published, for one task: 41 %."
    )


def _concordance(rows: Sequence[Mapping[str, Any]]) -> str:
    told = []
    for role, word in (("indicator", "indicator"), ("baseline", "trivial measure")):
        own = [row for row in rows if row["role"] == role]
        if own:
            best, sure = own[0], sum(row["low"] > 0.5 for row in own)
            flattered = "; directions are fitted on the same runs, which flatters" if best["fitted"] else ""
            told.append(
                f"Of {plural(len(own), word)}, {sure} order the runs better than chance for sure; the best is `{best['indicator']}` with "
                f"{share(best['concordance'])} {ends(best['low'], best['high'], share)} of {best['pairs']} pairs{flattered}."
            )
    return " ".join(told) or "No setting has two runs that jump."


def _forecast(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "No family has the twelve runs that a forecast needs."
    head = [
        "family",
        "budget seen",
        "runs",
        "the setting alone",
        "with the best trivial measure",
        "with the best indicator",
    ]
    cells = [
        [
            short(row["family"]),
            share(row["share"]),
            str(row["n"]),
            share(row["setting"]),
            f"{share(row['trivial'])} (`{row['trivial_name']}`)",
            f"{share(row['indicator'])} (`{row['indicator_name']}`)",
        ]
        for row in rows
    ]
    return grid(head, cells)
