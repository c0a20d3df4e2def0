"""What the report says of events, causes, circuits, prevalence, published numbers and negatives: fills of `report.in.md`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.study.told import KINDS, ends, grid, listed, num, picture, plural, share, short, the_part
from experiments.study.told_indicators import covered_at


def rest(results: Mapping[str, Any], drawn: Sequence[str]) -> dict[str, str]:
    """The fills of 5.1, 5.6 to 5.8, 6 and 7."""
    return {
        "events": _events(results["events"]) + picture("events", drawn, "when the behaviour jumps"),
        "interventions": _interventions(results["interventions"])
        + picture("interventions", drawn, "shift of the jump"),
        "circuits": _circuits(results["circuits"]["rows"]) + picture("circuits", drawn, "circuits before the rise"),
        "prevalence": _prevalence(results) + picture("prevalence", drawn, "shares of curves by kind"),
        "published": _published(results),
        "negatives": _negatives(the_part(results, "across")),
    }


def _events(found: Mapping[str, Any]) -> str:
    kinds = listed([f"{n} {kind}" for kind, n in found["kinds"].items()])
    controls = "None of the controls jumps."
    if found["controls_that_jump"]:
        which = [
            f"{short(row['family'])} `{row['setting']}`"
            for row in found["settings"]
            if row["control"] and row["n_events"]
        ]
        n = f"{found['controls_that_jump']} of {found['n_controls']}"
        controls = f"**{n} controls jump** ({listed(which)}): they are no negatives, and count as events."
    return (
        f"{found['n_events']} of {plural(found['n_runs'], 'run')} jump ({kinds}); {share(found['censored'])} are censored at their budget. "
        f"{controls} "
        f"Within a setting, seeds alone spread T by {num(found['spread'])} decades "
        "(median over settings of the standard deviation of log10 T)."
    )


def _interventions(found: Mapping[str, Any]) -> str:
    effects = found["effects"]
    if not effects:
        why = "; ".join(f"{short(name)}: {text}" for name, text in found["notes"].items())
        return f"No interventions have been measured{': ' + why if why else '.'}"
    real, placebo = ([row for row in effects if row["is_placebo"] == flag] for flag in (False, True))
    moved, shifted = ([row for row in rows if row["verdict"] != "undetermined"] for rows in (real, placebo))
    still = [
        max(abs(row["low"]), abs(row["high"]))
        for row in real
        if row["verdict"] == "undetermined" and row["low"] is not None
    ]
    told = [
        f"{len(moved)} of {plural(len(real), 'intervention')} move the jump beyond base and placebo; "
        f"{len(shifted)} of {plural(len(placebo), 'placebo')} do. Each is judged by itself at 95 %, without a correction for "
        "their number; those judged under themselves are the same runs again."
    ]
    if still:
        told.append(
            f"Where nothing is shown, the intervals leave room for at most {num(max(still))} decades, "
            f"the narrowest of them for {num(min(still))}."
        )
    slopes = [
        f"`{row['name']}` ({short(row['family'])}) {num(row['slope'])} {ends(row['low'], row['high'])}"
        for row in found["slopes"]
    ]
    told += [f"Decades a unit of dose: {listed(slopes)}."] if slopes else []
    head = [
        "family",
        "intervention",
        "the jump is",
        "shift of log10 T (95 %)",
        "beside the placebo",
        "pairs with both jumps",
        "jumps stopped",
        "p of the signs",
    ]
    rows = [
        [
            short(row["family"]),
            f"`{row['setting']}`{', judged under it' if row['under'] else ''}",
            row["verdict"],
            f"{num(row['effect'])} {ends(row['low'], row['high'])}",
            f"{num(row['vs_effect'])} {ends(row['vs_low'], row['vs_high'])}" if row["vs_placebo"] else "–",
            f"{row['n']} of {row['n_pairs']}",
            str(row["n_stopped"]),
            num(row["p"]),
        ]
        for row in effects
    ]
    return f"{' '.join(told)}\n\n{grid(head, rows)}"


def _circuits(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return "No circuit was tried on held-out prompts."
    sums = {
        c: [sum(row[key] for row in found if row["criterion"] == c) for key in ("before", "n")]
        for c in ("weak", "strict")
    }
    head = [
        "family",
        "part",
        "criterion",
        "there at T",
        "perhaps",
        "formed at all",
        "whole model as early",
        "median step / T",
    ]
    rows = [
        [
            short(row["family"]),
            row["part"],
            row["criterion"],
            f"{row['before']} of {row['n']}",
            f"{row['perhaps']} of {row['n']}",
            f"{row['formed']} of {row['n']}",
            f"{row['model_by_then']} of {row['formed']}" if row["model_by_then"] is not None else "–",
            num(row["median_ratio"]),
        ]
        for row in found
    ]
    return (
        f"By the weak criterion (the right answer before one wrong one) the circuit was there at T for sure in "
        f"{sums['weak'][0]} of {sums['weak'][1]} runs; by the strict one, by which behaviour is judged (the right answer among all), in "
        f"{sums['strict'][0]} of {sums['strict'][1]}. What the whole model does as early "
        "is no news of the circuit.\n\n"
        f"{grid(head, rows)}"
    )


def _prevalence(results: Mapping[str, Any]) -> str:
    told = []
    for key, where in (
        ("prevalence", "the study's own runs, controls apart"),
        ("prevalence_pythia", "published models"),
    ):
        if found := results.get(key):
            source = f" ({found['source']})" if "source" in found else ""
            told.append(f"Over {where}{source}:\n\n{_kinds(found)}")
            told += [f"{note[0].upper()}{note[1:]}." for note in found["notes"] if note.startswith("these grids")]
            told += _moderators(found["moderators"])
    return "\n\n".join(told or ["No curves."])


def _kinds(found: Mapping[str, Any]) -> str:
    rows = []
    for measure in dict.fromkeys(row["measure"] for row in found["shares"]):
        own = {row["kind"]: row for row in found["shares"] if (row["measure"], row["group"]) == (measure, "all")}
        apart = next(row for row in found["undetermined"] if (row["measure"], row["group"]) == (measure, "all"))
        shares = [f"{share(own[kind]['share'])} {ends(own[kind]['low'], own[kind]['high'], share)}" for kind in KINDS]
        rows.append([f"`{measure}`", str(own["none"]["n"]), *shares, share(apart["share"])])
    return grid(["measure", "curves", *KINDS, "cannot be told"], rows)


def _moderators(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    asked = {(row["moderator"], row["measure"]): row["p"] for row in rows if row["p"] is not None}
    strong = [f"{name} (`{measure}`, p {num(p)})" for (name, measure), p in sorted(asked.items()) if p <= 0.05]
    if not asked:
        return []
    which = f": {listed(strong)}" if strong else ""
    said = f"of {len(asked)} moderators, groups differ more than groups dealt out at random in {len(strong)}{which}"
    return [f"{said[0].upper()}{said[1:]}. One in twenty does so by chance."]


def _published(results: Mapping[str, Any]) -> str:
    rows, timing = the_part(results, "across")["indicators"], the_part(results, "timing")
    boards = the_part(results, "boards").values()
    best = [
        max(x) for board in boards if (x := [row["auroc"] for row in board["leaderboard"] if row["auroc"] is not None])
    ]
    clock = [
        row["auroc"]
        for board in boards
        for row in board["baselines"]
        if row["indicator"] == "step" and row["auroc"] is not None
    ]
    covered = [covered_at(rows, rate) for rate in ("0.05", "0.10", "0.20")]
    order = {
        role: [row["concordance"] for row in timing["together"] if row["role"] == role]
        for role in ("indicator", "baseline")
    }
    alone = [row["setting"] for row in timing["forecast"] if row["setting"] is not None]
    cells = [
        ["AUROC", ".93 (this run will jump)", f"best indicator of each family {_range(best)}; the step alone {_range(clock)}"],
        ["jumps covered at .05 / .10 / .20", "41 / 56 / 74 %",
         "best of all " + " / ".join(share(max(told["coverage"] for told, _ in each)) if each else "–" for each in covered)],
        ["concordance within a setting", "52–69 %",
         f"indicators {_range(order['indicator'], share)}; trivial measures {_range(order['baseline'], share)}"],
        ["forecast from hyper-parameters alone", "18–31 % off", f"{_range(alone, share)} off"],
    ]  # fmt: skip
    return grid(["quantity", "published", "here"], cells)


def _range(values: Sequence[float], told: Any = num) -> str:
    return f"{told(min(values))} to {told(max(values))}" if values else "–"


def _negatives(found: Mapping[str, Any]) -> str:
    by = {
        word: [row for row in found["indicators"] if row["verdict"] == word] for word in ("not leading", "undetermined")
    }
    why = Counter(reason for row in by["undetermined"] for reason in row["reason"].split("; ") if reason)
    reasons = "; ".join(f"{reason} ({n})" for reason, n in sorted(why.items(), key=lambda item: (-item[1], item[0])))
    dull = listed([f"`{row['indicator']}`" for row in by["not leading"]])
    told = [f"Shown to add less than the margin over families: {dull}."]
    told.append(
        f"Undetermined: {len(by['undetermined'])} of {len(found['indicators'])}{' (' + reasons + ')' if reasons else ''}."
    )
    if found["bound"] is not None:
        told.append(
            f"No indicator adds more than {num(found['bound'])} bits a row on average over families (95 %, all at once)."
        )
    else:
        told.append("No bound over families can be given on these rows.")
    return " ".join(told)
