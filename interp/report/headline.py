"""What was found, in one sentence, with nothing in it that the results do not say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from interp.figures import style
from interp.report.board import Board, Series, named, read_board
from interp.report.outcomes import as_table, jump_frame, outcomes, run_styles, target_curves

MAX_REASON = 80


def headline(
    table: Any,
    jumps: Any = None,
    board: Any = None,
    *,
    controls: Collection[str] | None = None,
    onsets: pd.DataFrame | None = None,
) -> str:
    """How many runs jumped, from what to what and when, what the controls did, what moved first and whether anything
    leads."""
    table = as_table(table)
    ranked = read_board(board)
    curves = target_curves(table, ranked)
    if not curves:
        return "The table holds no behaviour, so there is nothing that could jump."
    found = {curve: outcomes(table, jumps, *curve) for curve in curves}
    if table.groupby("run")["step"].nunique().max() == 1:
        return _one_checkpoint(found)
    styles = run_styles(table, controls)
    main = max(curves, key=lambda curve: int(found[curve]["jumped"].sum()))
    if jump_frame(jumps).empty:
        n = found[main]["run"].nunique()
        return f"{_count(n, 'run')} of {style.pretty(main[1])} on {main[0]}; jumps have not been looked for."
    is_control = found[main]["run"].map(lambda run: styles[run].control).astype(bool)
    runs = found[main] if is_control.all() else found[main][~is_control]
    clauses = [_jump_clause(runs, main, several=len(curves) > 1)]
    if is_control.all():
        clauses.append("all runs are controls")
    elif is_control.any():
        clauses.append(_control_clause(found[main][is_control]))
    if len(curves) > 1:
        clauses.append(_other_tasks(found, main))
    if onsets is not None:
        clauses.append(mover_clause(onsets[onsets["task"] == main[0]]))
    clauses += [leading_clause(ranked, table)]
    sentence = "; ".join(clause for clause in clauses if clause)
    return sentence[0].upper() + sentence[1:] + "."


def cards(
    table: Any, jumps: Any = None, board: Any = None, *, controls: Collection[str] | None = None, n_failures: int = 0
) -> list[tuple[str, str]]:
    """(value, label) of the counts that a reader wants first."""
    table = as_table(table)
    ranked = read_board(board)
    styles = run_styles(table, controls)
    n_controls = sum(look.control for look in styles.values())
    checkpoints = table.groupby("run")["step"].nunique()
    indicators = table[table["kind"] == "indicator"]["measure"].nunique()
    shown = [
        (
            str(len(styles)),
            _plural(len(styles), "run")
            + (f", {n_controls} of them {'a control' if n_controls == 1 else 'controls'}" if n_controls else ""),
        ),
        (style.number(checkpoints.median()), "checkpoints a run" + (" (median)" if checkpoints.nunique() > 1 else "")),
        (str(indicators), _plural(indicators, "indicator")),
    ]
    curves = target_curves(table, ranked)
    if curves and not jump_frame(jumps).empty:
        found = pd.concat([outcomes(table, jumps, *curve) for curve in curves])
        is_control = found["run"].map(lambda run: styles[run].control).astype(bool)
        jumped = found[found["jumped"]]
        what = "runs jumped" if len(curves) == 1 else "run-task pairs jumped"
        what += f"; controls {_tally(found[is_control])}" if is_control.any() else ""
        shown.insert(2, (_tally(found[~is_control]), what))
        widths = jumped["width_decades"].dropna()
        if len(widths):
            shown.insert(3, (style.number(widths.median(), 2), "decades of steps: median 10–90 % width"))
    if ranked.given:
        rows = ranked.of("leaderboard")
        shown.append((str(sum(row.leading is True for row in rows)), f"of {len(rows)} on the board called leading"))
    if n_failures:
        shown.append((str(n_failures), _plural(n_failures, "failed unit")))
    return shown


def _one_checkpoint(found: Mapping[tuple[str, str], pd.DataFrame]) -> str:
    levels = (
        f"{style.pretty(measure)} on {task} is {_level(runs['end'].median(), measure)}"
        for (task, measure), runs in found.items()
    )
    return f"One checkpoint a run, so no jump can be judged: {', '.join(levels)}."


def _tally(found: pd.DataFrame) -> str:
    return f"{int(found['jumped'].sum())} of {len(found)}"


def _jump_clause(found: pd.DataFrame, curve: tuple[str, str], *, several: bool) -> str:
    task, measure = curve
    what = style.pretty(measure) + (f" on {task}" if several else "")
    jumped = found[found["jumped"]]
    n, k = len(found), len(jumped)
    if k == 0:
        who = f"none of the {n} runs jumped"
        levels = [_level(found[name].median(), measure) for name in ("start", "end")]
        moved = f"{what} went from {levels[0]} to {levels[1]}" + (" (medians)" if n > 1 else "")
        return f"{who}: {moved} in {style.number(found['last_step'].median())} steps{_kinds(found)}"
    who = f"{k} of {n} runs jumped"
    start, end = jumped["start"].median(), jumped["end"].median()
    verb = "rose" if end >= start else "fell"
    before, after = (style.number(jumped[name].median()) for name in ("step_before", "step_after"))
    steps = f"between steps {before} and {after}"
    medians = " (medians)" if k > 1 else ""
    rest = _artefacts(jumped) + _kinds(found[~found["jumped"]])
    return f"{who}: {what} {verb} from {_level(start, measure)} to {_level(end, measure)}, {steps}{medians}{rest}"


def _artefacts(jumped: pd.DataFrame) -> str:
    """Of the runs that jumped: in how many the measure makes the jump out of a smooth change."""
    k = int((jumped["kind"] == "artefact").sum())
    which = "it is" if len(jumped) == 1 else f"in {k} of them it is"
    return f" ({which} an artefact of the measure: a continuous one rises without a jump)" if k else ""


def _level(value: float, measure: str) -> str:
    return style.percent(value) if style.is_share(measure) else style.number(value)


def _kinds(found: pd.DataFrame) -> str:
    """Of the runs that did not jump: how many were something else than flat."""
    words = {
        "undetermined": "could not be judged",
        "artefact": "changed only as an artefact of the measure",
        "spike": "showed only a spike",
    }
    counts = found["kind"].value_counts()
    told = [f"{counts[kind]} {text}" for kind, text in words.items() if kind in counts]
    return f" ({', '.join(told)})" if told else ""


def _control_clause(found: pd.DataFrame) -> str:
    k, n = int(found["jumped"].sum()), len(found)
    if n == 1:
        return "the control " + ("jumped too" if k else "did not jump")
    return f"{k if k else 'none'} of the {n} controls jumped" + (
        ", so jumping is not specific to the setting" if k == n else ""
    )


def _other_tasks(found: dict[tuple[str, str], pd.DataFrame], main: tuple[str, str]) -> str:
    others = [
        f"{task} {int(part['jumped'].sum())} of {len(part)}" for (task, _), part in found.items() if task != main[0]
    ]
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return f"other tasks: {', '.join(others[:3])}{more}"


def mover_clause(onsets: pd.DataFrame) -> str:
    """The online indicator with the largest median lead among those that move first in two thirds of the runs, and
    whether it moves just the same in runs that never jump: then it warns of nothing."""
    part = onsets[onsets["online"].astype(bool) & onsets["event"].astype(bool)]
    if part.empty:
        return ""
    n_runs = part["run"].nunique()
    keys = ["indicator", "component", "position"]
    leads = part.groupby(keys)["lead"]
    per = pd.DataFrame({"median": leads.median(), "ahead": leads.agg(lambda lead: int((lead > 0).sum()))})
    repeats = per[(per["ahead"] >= max(1, np.ceil(n_runs * 2 / 3))) & (per["median"] > 0)]
    if repeats.empty:
        return "no indicator's own onset comes before the jump in two thirds of the runs"
    key, best = repeats["median"].idxmax(), repeats.loc[repeats["median"].idxmax()]
    shown = style.pretty(named(**dict(zip(keys, key, strict=True))))
    still = onsets[(onsets[keys] == list(key)).all(axis=1) & ~onsets["event"].astype(bool)]
    moved = int(still["onset"].notna().sum())
    elsewhere = f", but it also moves in {moved} of the {len(still)} that did not jump" if moved else ""
    lead = f"lead {style.percent(best['median'])} of the jump time"
    if n_runs == 1:
        return f"earliest mover: {shown} ({lead}{elsewhere})"
    ahead = f"ahead in {int(best['ahead'])} of {n_runs}"
    return f"earliest mover that repeats across runs: {shown} (median {lead}, {ahead}{elsewhere})"


def leading_clause(board: Board, table: pd.DataFrame) -> str:
    rows = board.of("leaderboard")
    if not (table["kind"] == "indicator").any():
        return "no indicators were measured, so nothing can be said of leads"
    if not board.given:
        return "leads have not been ranked"
    if not rows:
        return "no indicator could enter the leaderboard"
    leading = [row for row in rows if row.leading is True]
    if leading:
        names = [style.pretty(row.name) + _alarm_lead(row) for row in leading[:3]]
        more = f" and {len(leading) - 3} more" if len(leading) > 3 else ""
        verb = "is" if len(leading) == 1 else "are"
        who = f"{_count(len(leading), 'indicator')} of {len(rows)} {verb} called leading"
        return f"{who}: {', '.join(names)}{more}"
    unknown = [row for row in rows if row.leading is None]
    needed = [row.runs_needed for row in unknown if row.runs_needed]
    more = f" (about {max(needed)} runs would decide)" if needed else ""
    if len(unknown) == len(rows):
        return f"whether any indicator leads cannot be told from these runs{more or _why(row.reason for row in rows)}"
    some = f", {len(unknown)} cannot be told{more}" if unknown else ""
    failed = [part for row in rows if row.leading is False for part in row.reason.split("; ")]
    return f"no indicator is called leading{some}{_why(failed)}"


def _alarm_lead(row: Series) -> str:
    return f" (alarm {style.percent(row.median_lead)} of the jump time ahead, median)" if row.median_lead > 0 else ""


def _why(reasons: Iterable[Any]) -> str:
    """The reason, or the most common of several; those with figures are too long for a headline."""
    counts = Counter(str(reason).rstrip(".") for reason in reasons if reason and len(str(reason)) <= MAX_REASON)
    if not counts:
        return ""
    return f" ({'most common reason: ' if len(counts) > 1 else 'because '}{counts.most_common(1)[0][0]})"


def _count(n: int, noun: str) -> str:
    return f"{n} {_plural(n, noun)}"


def _plural(n: int, noun: str) -> str:
    return noun if n == 1 else noun + "s"
