"""Runs of one setting together: do single runs jump at different times, or only some of them, behind a smooth mean?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from interp.jumps.curve import Curve, log_axis
from interp.jumps.describe import Entry, as_none, describe
from interp.jumps.record import Jump
from interp.jumps.verdict import Limits, Verdict

SHARP = ("abrupt", "artefact")
EVENTS = ("abrupt", "artefact", "gradual")


def over_seeds(
    entries: Sequence[Entry],
    jumps: Mapping[tuple[str, ...], Sequence[Jump]],
    limits: Limits,
    judge: Callable[[Curve, Limits], Verdict],
) -> list[Jump]:
    """One record (run "") for each setting, task, measure, component and position with at least two runs.

    kind "seed mixture": most runs with an event jump sharply, but some runs have none, or their midpoints lie
    further apart than an abrupt rise is wide. Otherwise the kind that the sharp runs share, else that of the
    mean curve. Of a mixture, step_before and step_after span the runs' intervals and the midpoint is the runs'
    median with their 2.5-97.5 % range; magnitude is the mean over the runs that jump, the width that of the
    mean curve's rise.
    """
    ordered = sorted(entries, key=_group)
    found = []
    for _, members in groupby(ordered, key=_group):
        runs = list(members)
        if len(runs) > 1:
            found.append(_together(runs, [_event(jumps[entry.key]) for entry in runs], limits, judge))
    return found


def _group(entry: Entry) -> tuple[str, ...]:
    return (str(entry.facts["setting"]), *entry.key[1:])


def _event(found: Sequence[Jump]) -> Jump:
    """The largest change of a run, else its first record."""
    events = [jump for jump in found if jump.kind in EVENTS]
    return max(events, key=lambda jump: abs(jump.magnitude or 0.0), default=found[0])


def _together(
    runs: Sequence[Entry], events: Sequence[Jump], limits: Limits, judge: Callable[[Curve, Limits], Verdict]
) -> Jump:
    mean = mean_curve([entry.curve for entry in runs])
    named = dict(zip(("run", "task", "measure", "component", "position"), ("", *runs[0].key[1:]), strict=True))
    overall = _event(describe(mean, judge(mean, limits), {**named, **runs[0].facts, "size": _shared_size(runs)}))
    if overall.kind == "spike":
        overall = as_none(overall)
    jumped = [event for event in events if event.kind in EVENTS]
    sharp = [event for event in jumped if event.kind in SHARP]
    overall = replace(overall, n_runs=len(runs), n_jumped=len(jumped))
    if not sharp or 2 * len(sharp) < len(jumped):
        return overall
    unknown = sum(event.kind == "undetermined" for event in events)
    never = len(runs) - len(jumped) - unknown
    middles = np.log10([event.midpoint for event in jumped if event.midpoint])
    if never or np.ptp(middles) > limits.max_width:
        return _mixture(overall, jumped, middles, never)
    kinds = [event.kind for event in sharp]
    kind = max(SHARP, key=kinds.count)
    return replace(_spanning(overall, jumped, middles), kind=kind)


def _mixture(overall: Jump, jumped: Sequence[Jump], middles: np.ndarray, never: int) -> Jump:
    whole = _spanning(overall, jumped, middles)
    first, last = 10 ** middles.min(), 10 ** middles.max()
    reason = f"{len(jumped)} of {len(jumped) + never} runs jump, at steps {first:.4g} to {last:.4g}"
    return replace(whole, kind="seed mixture", reason=f"{reason}; the mean is {overall.kind}")


def _spanning(overall: Jump, jumped: Sequence[Jump], middles: np.ndarray) -> Jump:
    low, mid, high = (float(10 ** np.quantile(middles, q)) for q in (0.025, 0.5, 0.975))
    return replace(
        overall,
        step_before=min(event.step_before for event in jumped if event.step_before is not None),
        step_after=max(event.step_after for event in jumped if event.step_after is not None),
        midpoint=mid,
        midpoint_low=low,
        midpoint_high=high,
        magnitude=float(np.mean([event.magnitude for event in jumped if event.magnitude is not None])),
        width_decades=overall.width_decades,
    )


def _shared_size(runs: Sequence[Entry]) -> str:
    sizes = {str(entry.facts["size"]) for entry in runs}
    return sizes.pop() if len(sizes) == 1 else ""


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over runs at every step that any of them has, between the latest start and the earliest end;
    runs are interpolated in log step where they lack one."""
    filled = [curve for curve in curves if len(curve)]
    if not filled:
        return curves[0]
    steps = np.unique(np.concatenate([curve.steps for curve in filled]))
    inner = (steps >= max(curve.steps[0] for curve in filled)) & (steps <= min(curve.steps[-1] for curve in filled))
    steps = steps[inner]
    x = log_axis(steps)
    own = [
        log_axis(np.union1d(steps, curve.steps))[np.isin(np.union1d(steps, curve.steps), curve.steps)]
        for curve in filled
    ]
    grid = [
        log_axis(np.union1d(steps, curve.steps))[np.isin(np.union1d(steps, curve.steps), steps)] for curve in filled
    ]
    y = np.array([np.interp(at, have, curve.y) for at, have, curve in zip(grid, own, filled, strict=True)])
    error = np.array([np.interp(at, have, curve.sigma) for at, have, curve in zip(grid, own, filled, strict=True)])
    return Curve(
        steps=steps,
        x=x,
        y=y.mean(0) if len(steps) else np.zeros(0),
        sigma=np.sqrt((error**2).mean(0) / len(filled)) if len(steps) else np.zeros(0),
        n=np.full(len(steps), np.nan),
        span=max(curve.span for curve in filled),
        scale=filled[0].scale,
    )
