"""From a fitted curve to its changes: from plateau to plateau of the curve, whatever the terms of the fit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from interp.jumps.curve import Curve
from interp.jumps.detectors._atoms import gap_at, lag_one
from interp.jumps.detectors._design import shape_of
from interp.jumps.detectors._fit import Data, Fit, evidence, solve, term_price
from interp.jumps.detectors._reading import Change, Reading, coarse, read
from interp.jumps.instrument import INSTRUMENT
from interp.jumps.null import p_value
from interp.jumps.verdict import Limits, Rise, kind_of

BETWEEN = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A curve and its fit, as changes are read off it. plain: the fit's sum of squares with errors taken as independent;
    least: the least magnitude; p: of the curve."""

    curve: Curve
    data: Data
    fit: Fit
    limits: Limits
    least: float
    p: float


def changes(judged: Judged) -> list[Rise]:
    """The changes of at least the least magnitude in the fitted curve, in order; two that cancel within a few
    checkpoints are a spike."""
    found = []
    turns = _turns(judged.fit.at, judged.least)
    for start, stop in turns:
        found += _within(judged, start, stop)
    whole = len(found) == 1
    rises = [rise for change, one in found if (rise := _rise(judged, change, one, whole)) is not None]
    return _bumps(judged, rises)


def _turns(fitted: Float[ndarray, "point"], least: float) -> list[tuple[int, int]]:
    """Runs between turning points of a curve, a turn being a reversal by at least `least`; shorter runs are left out."""
    turns, extreme, direction = [0], 0, 0
    low = high = 0
    for i in range(1, len(fitted)):
        if direction == 0:
            low, high = (i if fitted[i] < fitted[low] else low), (i if fitted[i] > fitted[high] else high)
            if fitted[i] - fitted[low] >= least:
                turns, direction, extreme = [low], 1, i
            elif fitted[high] - fitted[i] >= least:
                turns, direction, extreme = [high], -1, i
        elif direction * (fitted[i] - fitted[extreme]) > 0:
            extreme = i
        elif direction * (fitted[extreme] - fitted[i]) >= least:
            turns.append(extreme)
            direction, extreme = -direction, i
    if direction == 0:
        return []
    turns.append(extreme)
    return list(pairwise(turns))


def _within(judged: Judged, start: int, stop: int) -> list[tuple[Change, Float[ndarray, "reading"]]]:
    """The changes of a monotone stretch: one, where a single rise of some shape describes it, else its fastest part and
    what lies before and after, each by itself."""
    data, fit = judged.data, judged.fit
    if stop <= start or abs(fit.at[stop] - fit.at[start]) < judged.least:
        return []
    inside = (fit.centre >= data.x[start]) & (fit.centre <= data.x[stop])
    change = Change(
        data=data,
        start=start,
        stop=stop,
        n_terms=max(int(inside.sum()), 1),
        fitted=fit.at,
        squares=fit.squares,
    )
    squares = coarse(change)
    lost = evidence(data, float(squares.min()), fit.squares)
    free = max(change.n_terms - 1, 1) if _rests(fit.at[start : stop + 1]) else change.n_terms
    if lost <= free * term_price(len(data)):
        return [(change, squares)]
    first, last = _fastest(data.x, fit.at, start, stop)
    if (first, last) == (start, stop):
        return [(change, squares)]
    return [*_within(judged, start, first), *_within(judged, first, last), *_within(judged, last, stop)]


def _rests(climb: Float[ndarray, "point"]) -> bool:
    """Whether more than a third of a climb's checkpoints, from 10 to 90 % of it, are a plateau: then one rise, which is as
    free as one term, has to be better than it has to be elsewhere."""
    share = (climb - climb[0]) / (climb[-1] - climb[0])
    inner = share[(share > 0.1) & (share < 0.9)]
    if len(inner) < 2:
        return False
    far = np.searchsorted(np.maximum.accumulate(inner), inner + INSTRUMENT.plateau_share, side="right") - 1
    return bool((far - np.arange(len(inner))).max() > (len(inner) - 1) / 3)


def _fastest(x: Float[ndarray, "point"], fitted: Float[ndarray, "point"], start: int, stop: int) -> tuple[int, int]:
    """The stretch around the fastest interval in which the curve is never slower than a fraction of it, and half of its
    length of what is slower on either side."""
    speed = np.abs(np.diff(fitted[start : stop + 1]) / np.diff(x[start : stop + 1]))
    top = int(speed.argmax())
    slow = np.flatnonzero(speed < speed[top] / INSTRUMENT.contrast)
    first = start + int(slow[slow < top].max(initial=-1)) + 1
    last = start + int(slow[slow > top].min(initial=len(speed)))
    foot = (x[last] - x[first]) / 2
    low, high = np.searchsorted(x, [x[first] - foot, x[last] + foot])
    return max(start, min(int(low), first)), min(stop, max(int(high) - 1, last))


def _rise(judged: Judged, change: Change, squares: Float[ndarray, "reading"], whole: bool) -> Rise | None:
    """The record of a change; None where noise explains it."""
    limits, data = judged.limits, judged.data
    p = judged.p if whole else _p_of(judged, change)
    if p > limits.level:
        return None
    seen = read(change, limits, squares)
    lost = evidence(data, seen.squares, change.squares)
    if lost > change.n_terms * term_price(len(data)):
        climbed = change.clipped
        share = (climbed - climbed[0]) / (climbed[-1] - climbed[0])
        seen = read(change, limits, squares, own=shape_of(data.x, share))
    before, after = _interval(judged, change, seen)
    censored = before == 0
    gap = float(gap_at(data.x, seen.middle))
    kind, reason = kind_of(seen.width_low, seen.width_high, limits, gap=gap, unfinished=_unfinished(seen, limits))
    middle = float(np.clip(seen.middle, data.x[before], data.x[after]))
    low, high = (float(np.clip(end, data.x[0], data.x[-1])) for end in (seen.low, seen.high))
    return Rise(
        kind=kind,
        before=before,
        after=after,
        midpoint=middle,
        low=min(middle, low),
        high=max(middle, high),
        width=max(seen.width, 0.0),
        magnitude=change.magnitude,
        p_value=p,
        width_low=seen.width_low,
        width_high=seen.width_high,
        value_before=float(change.fitted[change.start]),
        value_after=float(change.fitted[change.stop]),
        left_censored=censored and limits.confirm,
        reason=reason,
    )


def _unfinished(seen: Reading, limits: Limits) -> str:
    if not seen.cut:
        return ""
    few = "two checkpoints show" if limits.confirm else "a checkpoint shows"
    if seen.cut == "first":
        return f"only the first checkpoint differs, or none is before it: no {few} the level before the change"
    return f"only the last checkpoint differs, or it is under way there: no {few} the level after the change"


def _p_of(judged: Judged, change: Change) -> float:
    """p-value of a change given the others."""
    data, fit = judged.data, judged.fit
    plain = Data(x=data.x, y=data.y, weight=data.weight, rho=0.0, floor=data.floor / (1 - data.rho**2))
    full = solve(plain, fit.centre, fit.width)
    residual = plain.weight * (change.target - np.average(change.target, weights=plain.weight**2))
    statistic = float(np.log(max(float(residual @ residual), plain.floor) / max(full.squares, plain.floor)))
    lag = float(lag_one((data.y - fit.at)[None])[0])
    dependent = judged.limits.dependent
    return p_value(statistic, lag, n_points=len(data), n_terms=change.n_terms, dependent=dependent)


def _interval(judged: Judged, change: Change, seen: Reading) -> tuple[int, int]:
    """Last checkpoint below 10 % of the rise, first above 90 %: by the reading where the value agrees with it, else by
    the value."""
    data, share = change.data, seen.share
    height = change.magnitude
    freedom = max(len(data) - 1 - 3 * len(judged.fit.centre), 1) * (1 - data.rho**2)
    noise = np.sqrt(max(change.squares, data.floor) / freedom) / data.weight
    off = (change.target - change.fitted[change.start]) / height - share
    seen_share = share + np.where(np.abs(off * height) > INSTRUMENT.off_curve * noise, off, 0.0)
    half = int(np.clip(np.searchsorted(share, 0.5), 1, len(share) - 1))
    below = np.flatnonzero(seen_share[:half] < 0.1)
    before = int(below[-1]) if len(below) else 0
    above = np.flatnonzero(seen_share[half:] > 0.9)
    after = half + int(above[0]) if len(above) else len(share) - 1
    return before, after


def _bumps(judged: Judged, rises: list[Rise]) -> list[Rise]:
    """Two neighbours that cancel within a few checkpoints are a spike, too wide for the scan of single outliers."""
    found: list[Rise] = []
    x = judged.data.x
    most = int(np.clip(len(x) // 8, 1, BETWEEN))
    for rise in sorted(rises, key=lambda rise: rise.midpoint):
        last = found[-1] if found and found[-1].kind != "spike" else None
        if last is not None and last.magnitude * rise.magnitude < 0:
            between = int(((x > last.midpoint) & (x < rise.midpoint)).sum())
            height = max(last.magnitude, rise.magnitude, key=abs)
            if 1 <= between <= most and abs(last.magnitude + rise.magnitude) <= abs(height) / 2:
                found[-1] = _spike(last, rise)
                continue
        found.append(rise)
    return found


def _spike(up: Rise, down: Rise) -> Rise:
    return Rise(
        kind="spike",
        before=up.before,
        after=down.after,
        midpoint=(up.midpoint + down.midpoint) / 2,
        low=up.midpoint,
        high=down.midpoint,
        width=down.midpoint - up.midpoint,
        magnitude=up.magnitude,
        p_value=max(up.p_value, down.p_value),
        value_before=up.value_before,
        value_after=up.value_after,
    )
