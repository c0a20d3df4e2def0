"""From a fit to rises: where each begins and ends, how wide and how large it is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from interp.jumps.curve import Curve
from interp.jumps.detectors._atoms import lag_one
from interp.jumps.detectors._fit import Fit, solve, without
from interp.jumps.detectors._groups import Judged, Terms, grouped
from interp.jumps.detectors._locate import Fitted, Located, locate
from interp.jumps.detectors._shapes import shape_of
from interp.jumps.null import p_value
from interp.jumps.spikes import Spike
from interp.jumps.verdict import Limits, Rise

FINE = 1500


def rises(
    curve: Curve, fit: Fit, narrow: Bool[ndarray, "term"], limits: Limits, floor: float, detail: float, p: float
) -> list[Rise]:
    """The changes of at least the least magnitude, ordered by midpoint: narrow terms one by one, wide ones as
    monotone phases."""
    fine = np.union1d(np.linspace(curve.x[0], curve.x[-1], FINE), curve.x)
    least = limits.min_magnitude * curve.span
    judged = Judged(curve=curve, fit=fit, fine=fine, limits=limits, floor=floor, detail=detail, least=least)
    groups, smooth = grouped(judged, narrow)
    parts, found = fit.parts(fine), []
    for terms in groups:
        part = parts[:, terms].sum(1)
        alone = p if len(terms) == len(fit.centre) else _p_of(judged, terms)
        if alone > limits.level:
            continue
        if abs(part[-1] - part[0]) >= least:
            found.append(_rise(judged, terms, part, alone))
        elif len(terms) > 1 and np.abs(part - part[0]).max() >= least:
            found.append(_bump(judged, terms, part, alone))
    if len(smooth):
        alone = p if not groups else _p_of(judged, smooth)
        if alone <= limits.level:
            found += _phases(judged, smooth, parts[:, smooth].sum(1), alone)
    if not found:
        found = _phases(judged, np.arange(len(fit.centre)), parts.sum(1), p)
    return sorted(found, key=lambda rise: rise.midpoint)


def as_rise(curve: Curve, spike: Spike) -> Rise:
    """A spike as an entry: its interval runs from the checkpoint before it to the one after."""
    before, after = spike.start - 1, spike.stop
    middle = float(curve.x[spike.start : spike.stop].mean())
    low, high = float(curve.x[before]), float(curve.x[after])
    return Rise(
        kind="spike",
        before=before,
        after=after,
        midpoint=middle,
        low=low,
        high=high,
        width=high - low,
        magnitude=spike.height,
        p_value=float("nan"),
    )


def _p_of(judged: Judged, terms: Terms) -> float:
    """p-value of some terms given the others."""
    curve, fit = judged.curve, judged.fit
    rest, full = (solve(curve.x, curve.y, f.centre, f.width) for f in (without(curve.y, fit, terms), fit))
    floor = judged.floor / (1 - fit.rho**2)
    statistic = float(np.log(max(rest.squares, floor) / max(full.squares, floor)))
    lag = float(lag_one((curve.y - fit.at())[None])[0])
    dependent = judged.limits.dependent
    return p_value(statistic, lag, n_points=len(curve), n_terms=len(terms), dependent=dependent, worst=False)


def _phases(judged: Judged, terms: Terms, part: Float[ndarray, "fine"], p: float) -> list[Rise]:
    """The monotone phases of the smooth part that change by at least `least`, as the checkpoints show them."""
    at = np.searchsorted(judged.fine, judged.curve.x)
    turns = [(at[start], at[stop]) for start, stop in _turns(part[at], judged.least)]
    return [_rise(judged, terms, part[np.clip(np.arange(len(part)), *turn)], p) for turn in turns]


def _turns(part: Float[ndarray, "point"], least: float) -> list[tuple[int, int]]:
    """Runs between turning points, a turn being a reversal by at least `least`; runs shorter than `least` are
    left out."""
    turns, extreme, direction = [0], 0, 0
    low = high = 0
    for i in range(1, len(part)):
        if direction == 0:
            low, high = (i if part[i] < part[low] else low), (i if part[i] > part[high] else high)
            if part[i] - part[low] >= least:
                turns, direction, extreme = [low], 1, i
            elif part[high] - part[i] >= least:
                turns, direction, extreme = [high], -1, i
        elif direction * (part[i] - part[extreme]) > 0:
            extreme = i
        elif direction * (part[extreme] - part[i]) >= least:
            turns.append(extreme)
            direction, extreme = -direction, i
    if direction == 0:
        return []
    turns.append(extreme)
    return list(pairwise(turns))


def _rise(judged: Judged, terms: Terms, part: Float[ndarray, "fine"], p: float) -> Rise:
    curve, fine, limits = judged.curve, judged.fine, judged.limits
    located = _located(judged, terms, part)
    part = located.part
    magnitude = float(part[-1] - part[0])
    low, mid, high = _crossings(fine, part)
    before, after = _interval(judged, located)
    width = max(high - low, 0.0)
    abrupt = width <= limits.max_width or after - before <= limits.max_checkpoints
    kind = "abrupt" if abrupt else "gradual"
    if limits.confirm and ((before == len(curve) - 2) or after == 1):
        kind = "undetermined"
    mid = float(np.clip(mid, curve.x[before], curve.x[after]))
    return Rise(
        kind=kind,
        before=before,
        after=after,
        midpoint=mid,
        low=max(min(mid, located.low), float(curve.x[0])),
        high=min(max(mid, located.high), float(curve.x[-1])),
        width=width,
        magnitude=float(np.clip(magnitude, -np.ptp(curve.y), np.ptp(curve.y))),
        p_value=p,
    )


def _located(judged: Judged, terms: Terms, part: Float[ndarray, "fine"]) -> Located:
    """A rise, given the fit's other terms and what its own ones say beyond it."""
    curve, fit, fine = judged.curve, judged.fit, judged.fine
    beyond = fit.parts()[:, terms].sum(1) - np.interp(curve.x, fine, part)
    target = curve.y - (beyond - beyond[0])
    rest = solve(curve.x, target, np.delete(fit.centre, terms), np.delete(fit.width, terms), fit.rho)
    shape = shape_of(fine, (part - part[0]) / (part[-1] - part[0]))
    low, middle, high = _crossings(fine, part)
    return locate(
        Fitted(
            curve=curve,
            fine=fine,
            target=target,
            rest=rest,
            shape=shape,
            middle=middle,
            width=high - low,
            n_terms=len(terms),
            floor=judged.floor,
        )
    )


def _bump(judged: Judged, terms: Terms, part: Float[ndarray, "fine"], p: float) -> Rise:
    """An excursion of a few checkpoints that returns: a spike that is too wide for the scan of single outliers."""
    curve, fit = judged.curve, judged.fit
    left, right = fit.centre[terms].min(), fit.centre[terms].max()
    before = int(np.clip(np.searchsorted(curve.x, left) - 1, 0, len(curve) - 1))
    after = int(np.clip(np.searchsorted(curve.x, right), 0, len(curve) - 1))
    height = part[np.abs(part - part[0]).argmax()] - part[0]
    mid = (left + right) / 2
    return Rise(
        kind="spike",
        before=before,
        after=after,
        midpoint=mid,
        low=left,
        high=right,
        width=right - left,
        magnitude=float(height),
        p_value=p,
    )


def _crossings(fine: Float[ndarray, "fine"], part: Float[ndarray, "fine"]) -> tuple[float, float, float]:
    """Where 10, 50 and 90 % of the rise are first reached."""
    share = np.maximum.accumulate((part - part[0]) / (part[-1] - part[0]))
    low, middle, high = (float(np.interp(level, share, fine)) for level in (0.1, 0.5, 0.9))
    return low, middle, high


def _interval(judged: Judged, located: Located) -> tuple[int, int]:
    """Last checkpoint below 10 % of the rise, first above 90 %: by the located rise where the value agrees with it,
    else by the value."""
    curve, fit, part = judged.curve, judged.fit, located.part
    modelled = np.interp(curve.x, judged.fine, part)
    freedom = max(len(curve) - 1 - 3 * len(fit.centre), 1) * (1 - fit.rho**2)
    noise = np.sqrt(max(fit.squares, judged.floor) / freedom)
    seen = modelled + np.where(np.abs(located.residual) > 2.5 * noise, located.residual, 0.0)
    share = (seen - part[0]) / (part[-1] - part[0])
    shape = (modelled - part[0]) / (part[-1] - part[0])
    half = int(np.clip(np.searchsorted(shape, 0.5), 1, len(shape) - 1))
    below = np.flatnonzero(share[:half] < 0.1)
    before = int(below[-1]) if len(below) else 0
    above = np.flatnonzero(share[half:] > 0.9)
    after = half + int(above[0]) if len(above) else len(share) - 1
    return before, after
