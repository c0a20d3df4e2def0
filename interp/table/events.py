"""What an event is, said once: the leaderboard, the onsets, the page, the forecasts and the prevalence all read it here.

The event of a run is the first change of its target towards better, of whatever kind, of at least the least rise, that
began after the second checkpoint, is complete before the last one, and begins within the budget.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.errors import InputError, nearest, unknown
from interp.figures.axis import placed, zero_place
from interp.table.contract import CURVE

LEAST_RISE = 0.1
"""The least change that is an event, as a share of the measure's range: one default for jumps, board, page and
prevalence (a choice; smaller drifts are common among checkpoints scored on the same examples)."""

TARGETS = ("exact_match", "accuracy")
DIRECTIONS = {"up": 1, "down": -1}
CHANGES = ("abrupt", "gradual", "artefact", "undetermined")
"""Kinds of a record that can be an event, where it says where it is. A companion that explains a jump takes nothing from
it, and neither does a grid on which it may be abrupt or gradual: users want warning of either."""

_FALLS = {"loss", "losses", "ppl", "perplexity", "brier", "error", "errors", "err", "kl", "nll", "surprisal", "mse", "rmse",
          "mae", "wer", "cer", "ter", "ece", "bpb", "bpc", "regret", "rank", "distance"}  # fmt: skip
_FALLING_PHRASES = ("cross_entropy", "crossentropy", "bits_per", "negative_log", "neg_log", "perplexity")


def falls(measure: str) -> bool:
    """Whether a measure falls as behaviour improves, by the words of its name: losses, perplexities, Brier scores,
    errors, divergences (`kl_to_bigram`), ranks."""
    name = re.sub(r"([a-z])([A-Z])", r"\1_\2", measure.partition(",")[0]).lower()
    name = re.sub(r"[^a-z0-9]+", "_", name)
    return bool(_FALLS & set(name.split("_"))) or any(phrase in name for phrase in _FALLING_PHRASES)


def sign_of(measure: str, direction: str | None = None) -> int:
    """+1 where the measure rises as behaviour improves, −1 where it falls; `direction` ("up" or "down") overrides.

    Raises:
        InputError: another direction.
    """
    if direction is None:
        return -1 if falls(measure) else 1
    if direction not in DIRECTIONS:
        raise unknown("direction", direction, DIRECTIONS)
    return DIRECTIONS[direction]


def tick(step: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Steps on a logarithmic axis: those ≤ 0 stand at half of the first positive one (1 where there is none)."""
    step = np.asarray(step, float)
    return placed(step, zero_place(step))


Change = Any
"""A detector's record (`interp.jumps.Jump`, or a row of a table of them) with kind, step_before, step_after, midpoint,
width_decades, magnitude, span, left_censored and reason; the curve that it is of is named by the columns of CURVE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """T: last checkpoint below 10 % of the rise; middle: the half-way step; both infinite without an event.
    centre, width: log10 of the half-way step and 10-90 % width in decades of the first change that would be the event,
    completed within the budget or not; NaN without one. change: the event's own record, else None. reason: why there is
    no event, where the curve cannot be judged or a change does not count."""

    T: float = np.inf
    middle: float = np.inf
    centre: float = np.nan
    width: float = np.nan
    change: Any = None
    reason: str = ""


def first_event(
    changes: Iterable[Change],
    *,
    sign: int,
    last: float,
    planned: float = np.inf,
    min_magnitude: float = LEAST_RISE,
    first_step: float | None = None,
) -> Event:
    """The event among the records of one curve.

    sign: +1 or −1, as `sign_of` says. last: the run's last checkpoint; a rise that it cuts off is still under way.
    planned: the budget. first_step: where a step 0 stands (half of the first positive step), if the run has one.
    """
    found = [change for change in changes if change.kind in CHANGES and not _missing(change.step_before)]
    reasons, about = [], (np.nan, np.nan)
    for change in sorted(found, key=lambda change: float(change.step_before)):
        text = _no_event(change, sign, last, planned, min_magnitude)
        counts = text in (None, _UNFINISHED, _LATE)
        if counts and np.isnan(about[0]):
            about = float(np.log10(change.midpoint)), float(change.width_decades)
        if text is None:
            before = float(change.step_before)
            T = before if before > 0 else float(first_step or 0.5)
            return Event(T=T, middle=float(change.midpoint), centre=about[0], width=about[1], change=change)
        reasons.append(text)
    unjudged = [str(c.reason) for c in changes if c.kind == "undetermined" and _missing(c.step_before) and c.reason]
    return Event(centre=about[0], width=about[1], reason="; ".join(dict.fromkeys([*unjudged, *reasons])))


STARTED_BEFORE = "under way or complete at the second checkpoint"
"""Of `Event.reason`: when the change began is not known, only that it was before."""
_UNFINISHED = "still under way at the last checkpoint"
_LATE = "begins past the budget"


def _no_event(change: Change, sign: int, last: float, planned: float, least: float) -> str | None:
    """Why a change is no event, or None."""
    if np.sign(change.magnitude) != sign:
        return "a change for the worse"
    if not _missing(change.span) and abs(change.magnitude) < least * change.span:
        return "below the least magnitude"
    if change.left_censored is True or (not _missing(change.left_censored) and bool(change.left_censored)):
        return STARTED_BEFORE
    if change.step_after >= last:
        return _UNFINISHED
    return _LATE if change.step_before > planned else None


def _missing(value: Any) -> bool:
    return value is None or value != value


def choose_target(table: pd.DataFrame, task: str, target: str | None) -> str:
    """The behaviour whose event counts: the one named, else `exact_match`, else `accuracy`."""
    here = table.loc[(table["task"] == task) & (table["kind"] == "behaviour"), "measure"].unique()
    for name in (target,) if target else TARGETS:
        if name in here:
            return name
    wanted = repr(target) if target else "'exact_match' or 'accuracy'"
    raise InputError(f"task {task!r} has no behaviour {wanted} to take as target{nearest(target or 'accuracy', here)}")


def target_rows(table: pd.DataFrame, task: str, target: str) -> pd.DataFrame:
    """The finite values of the target as a whole, without a component or a position."""
    goal = table[(table["task"] == task) & (table["measure"] == target) & (table["kind"] == "behaviour")]
    goal = goal[(goal["component"] == "") & (goal["position"] == "") & np.isfinite(goal["value"].to_numpy(float))]
    if goal.empty:
        raise InputError(f"task {task!r}: the target {target!r} has no finite value without a component and a position")
    return goal


def run_facts(goal: pd.DataFrame) -> pd.DataFrame:
    """By run: setting, size, seed, first and last value, last checkpoint, planned budget (without one, the longest run
    of the setting), and where step 0 stands."""
    facts = goal.sort_values("step", kind="stable").groupby("run", observed=True).agg(
        setting=("setting", "first"), size=("size", "first"), seed=("seed", "first"), start=("value", "first"),
        end=("value", "last"), planned=("budget", "max"), last=("step", "max"), first_step=("step", _first_tick),
    )  # fmt: skip
    longest = facts.groupby("setting")["last"].transform("max")
    return facts.assign(planned=facts["planned"].fillna(longest).astype(float), last=facts["last"].astype(float))


def _first_tick(step: pd.Series) -> float:
    return float(tick(step.to_numpy(float)).min())


def events_of(
    goal: pd.DataFrame,
    changes: Iterable[Change],
    *,
    direction: str | None = None,
    min_magnitude: float = LEAST_RISE,
) -> dict[str, Event]:
    """The event of every run of one target (`target_rows`) among the records of all curves, by run."""
    first = goal.iloc[0]
    key = {name: str(first[name]) for name in CURVE if name != "run"}
    own: dict[str, list[Change]] = {}
    for change in changes:
        if all(_same(getattr(change, name), text) for name, text in key.items()):
            own.setdefault(str(change.run), []).append(change)
    sign = sign_of(key["measure"], direction)
    return {
        str(run): first_event(
            own.get(str(run), []), sign=sign, last=fact["last"], planned=fact["planned"], min_magnitude=min_magnitude,
            first_step=fact["first_step"],
        )
        for run, fact in run_facts(goal).iterrows()
    }  # fmt: skip


def _same(value: Any, text: str) -> bool:
    return ("" if value is None else str(value)) == text
