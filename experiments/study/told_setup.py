"""What the report says of families, protocol and lock: fills of `report.in.md`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.study.protocol import Protocol
from experiments.study.rows import EXPLORE, HELD_OUT
from experiments.study.told import ends, grid, has_held_out, listed, num, plural, share, short, the_part

CONCERNING = {
    "study_addition_mod": "addition modulo a prime; pairs are split unordered, so that memorising gives nothing away",
    "study_subtraction_mod": "subtraction modulo a prime, which no symmetry gives away",
    "study_induction": "a pattern of random tokens repeats",
    "study_markov": "each sequence is of a Markov chain of its own; from what the states' frequencies tell to what followed the last state",
    "study_addition": "sums of three digits, a character a token",
    "study_parity": "four parities as frequent as Zipf's law says, of which the second most frequent is the target",
    "study_window_sum": "sums of neighbours modulo a prime",
}
NO_TEST = "**Only the exploring part has been measured: nothing below is a test of anything.**"


def setup(results: Mapping[str, Any], protocol: Protocol) -> dict[str, str]:
    """All fills of the summary and of the sections on question, families, methods and registration."""
    spec, seeds = protocol.leads, {part: f"{min(own)}–{max(own)}" for part, own in protocol.parts.items()}
    shortlist = "\n".join(f"- `{name}`: {why}" for name, why in protocol.primary.items())
    nothing = "- No shortlist: every indicator is primary, and the family-wise error is over all of them."
    families = the_part(results, "across")["families"]
    return {
        "summary": summary(results),
        "question": protocol.question,
        "censored": share(results["events"]["censored"]),
        "families": _families(results, protocol),
        "largest": listed([f"`{name}`" for name in protocol.largest]),
        "min_magnitude": share(spec.min_magnitude),
        "horizon": num(spec.horizon),
        "folds": str(spec.folds),
        "permutations": str(spec.permutations),
        "half_decade": num(spec.half_decade),
        "window_end": num(1 - spec.delta),
        "spec_margin": num(spec.margin),
        "margin_share": share(spec.margin_share),
        "explore_seeds": seeds[EXPLORE],
        "held_out_seeds": seeds[HELD_OUT],
        "locks": _locks(results["lock"]),
        "primary": shortlist or nothing,
        "controls_note": (
            "Controls were grown for the exploring seeds alone; they count among the negatives of both parts."
            if protocol.reuse_controls
            else "Controls count in the part of their seed alone."
        ),
        "families_limit": (
            f"Means over families rest on {plural(len(families), 'family', 'families')}, which are no random sample of tasks; "
            "the spread between so few is itself uncertain."
        ),
    }


def summary(results: Mapping[str, Any]) -> str:
    """What was found, in a paragraph made of the verdicts; the README's first screen can have its sentences."""
    found, events = the_part(results, "across"), results["events"]
    told = [
        f"{plural(events['n_families'], 'family', 'families')} of small transformers were grown and watched at every checkpoint: "
        f"{plural(events['n_runs'], 'run')}, of which {events['n_events']} jump within their budget, "
        f"and {plural(events['n_controls'], 'control')}, of which {events['controls_that_jump'] or 'none'} jump."
    ]
    told += [] if has_held_out(results) else [NO_TEST]
    told += _verdicts(found)
    if found["bound"] is not None:
        told.append(
            f"Of the {sum(row['bound'] is not None for row in found['indicators'])} that enough families have, whichever is best "
            f"adds at most {num(found['bound'])} bits a row on average over families (95 %, for all of them at once), where the "
            f"target's own value is worth {num(found['foresight']['mean'])}; {share(found['power']['over_families'])} of planted "
            "leaders are seen, so that a faint one would be missed."
        )
    moved = [row for row in results["interventions"]["effects"] if row["verdict"] in ("earlier", "later")]
    moved = [row for row in moved if not row["is_placebo"]]
    if moved:
        told.append(f"Interventions that move the jump: {listed([_moved(row) for row in moved])}.")
    return " ".join(told)


def _verdicts(found: Mapping[str, Any]) -> list[str]:
    rows = found["indicators"]
    if not rows:
        return []
    said = {
        word: [row["indicator"] for row in rows if row["verdict"] == word]
        for word in ("leading", "not leading", "undetermined")
    }
    leads = (
        f"{listed(said['leading'])} lead{'s' if len(said['leading']) == 1 else ''}"
        if said["leading"]
        else "none is called leading"
    )
    return [
        f"Of {len(rows)} indicators, judged over families by what they add to the step, the setting, the behaviours and the losses, "
        f"{leads}; {len(said['not leading'])} are shown to add less than the margin, and of {len(said['undetermined'])} these runs "
        "cannot tell."
    ]


def _moved(row: Mapping[str, Any]) -> str:
    effect = "stopped" if row["effect"] is None else f"{num(row['effect'])} decades {ends(row['low'], row['high'])}"
    under = ", judged under it" if row["under"] else ""
    return f"`{row['setting']}` ({short(row['family'])}{under}: {row['verdict']}, {effect})"


def _families(results: Mapping[str, Any], protocol: Protocol) -> str:
    rows = []
    for family, about in results["table"].items():
        own = [row for row in results["events"]["settings"] if row["family"] == family]
        main, held = ([row for row in own if row["control"] == flag] for flag in (False, True))
        entry = protocol.families[family]
        target = f"`{entry['target']}`" + (f" of `{entry['component']}`" if entry.get("component") else "")
        cells = [short(family), CONCERNING.get(family, ""), target, _of(main), _of(held)]
        size = (
            "–".join(f"{n:,}" for n in sorted({min(about["n_params"]), max(about["n_params"])}))
            if about["n_params"]
            else "–"
        )
        rows.append([*cells, size, str(about["checkpoints"]), str(about["curves"])])
    head = [
        "family",
        "task",
        "target",
        "runs that jump",
        "controls that jump",
        "parameters",
        "checkpoints",
        "curves a run",
    ]
    return grid(head, rows)


def _of(rows: list[dict[str, Any]]) -> str:
    return f"{sum(row['n_events'] for row in rows)} of {sum(row['n_runs'] for row in rows)}"


def _locks(lock: Mapping[str, Any]) -> str:
    told = [
        f"- `{entry['hash'][:19]}…`, {entry['date']}{': ' + entry['why'] if entry['why'] else ''}. "
        f"{entry['rows']:,} held-out rows were measured under it."
        for entry in lock["locks"]
    ] or ["- Nothing is locked yet."]
    if lock["unlocked_rows"]:
        told.append(f"- **{lock['unlocked_rows']:,} held-out rows carry no lock of this list: they are no test.**")
    if lock["locks"] and lock["changed_since"]:
        told.append(f"- Changed after the last lock: {listed([f'`{name}`' for name in lock['changed_since']])}.")
    return "\n".join(told)
