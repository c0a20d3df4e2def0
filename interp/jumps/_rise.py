"""From a fit to rises: which terms belong together, where each rise begins and ends, how wide and how large it is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from interp.jumps._atoms import lag_one, sigmoid
from interp.jumps._band import Own, midpoint_band
from interp.jumps._curve import Curve
from interp.jumps._fit import Fit, solve, term_price, without
from interp.jumps._limits import Limits
from interp.jumps._null import p_value
from interp.jumps._shapes import SHAPES, profile, shape_of
from interp.jumps._spikes import Spike

FINE = 1500
CONTRAST = 5.0
BETWEEN = 41


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rise:
    """One change between two levels. before, after: indices of checkpoints; midpoint, low, high: on the log axis.

    kind: "abrupt", "gradual", "spike", or "undetermined" where only the first or the last checkpoint shows it.
    """

    kind: str
    before: int
    after: int
    midpoint: float
    low: float
    high: float
    width: float
    magnitude: float
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judged:
    """A curve and its fit, as rises are read off it: `fine` is a dense log-step axis, `floor` the least believable sum
    of squares, `detail` the one below which shapes are not told apart, `least` the least magnitude."""

    curve: Curve
    fit: Fit
    fine: Float[ndarray, "fine"]
    limits: Limits
    floor: float
    detail: float
    least: float


def rises(
    curve: Curve, fit: Fit, narrow: Bool[ndarray, "term"], limits: Limits, floor: float, detail: float, p: float
) -> list[Rise]:
    """The changes of at least the least magnitude, ordered by midpoint: narrow terms one by one, wide ones as
    monotone phases."""
    fine = np.union1d(np.linspace(curve.x[0], curve.x[-1], FINE), curve.x)
    least = limits.min_magnitude * curve.span
    judged = _Judged(curve=curve, fit=fit, fine=fine, limits=limits, floor=floor, detail=detail, least=least)
    parts = fit.parts(fine)
    groups = _apart(judged, _joined(judged, _groups(curve.x, fit, np.flatnonzero(narrow))))
    found = []
    for terms in groups:
        part = parts[:, terms].sum(1)
        alone = p if len(terms) == len(fit.centre) else _p_of(judged, terms)
        if alone > limits.level:
            continue
        if abs(part[-1] - part[0]) >= least:
            found.append(_rise(judged, terms, part, alone))
        elif len(terms) > 1 and np.abs(part - part[0]).max() >= least:
            found.append(_bump(judged, terms, part, alone))
    smooth = np.setdiff1d(np.arange(len(fit.centre)), np.concatenate([*groups, []]).astype(int))
    if len(smooth):
        alone = p if not groups else _p_of(judged, smooth)
        if alone <= limits.level:
            found += _phases(judged, smooth, parts[:, smooth].sum(1), alone)
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


def _groups(x: Float[ndarray, "point"], fit: Fit, narrow: Int[ndarray, "term"]) -> list[Int[ndarray, "term"]]:
    """Narrow terms in order of centre; those of one sign join where no checkpoint, or no plateau, lies between them,
    those of opposite signs where at most three checkpoints do."""
    groups: list[list[int]] = []
    for term in narrow[np.argsort(fit.centre[narrow])]:
        if groups:
            last = groups[-1][-1]
            low = fit.centre[last] + fit.width[last] / 2
            high = fit.centre[term] - fit.width[term] / 2
            between = int(((x > low) & (x < high)).sum())
            same = np.sign(fit.rise[term]) == np.sign(fit.rise[last])
            if between < (1 if same else int(np.clip(len(x) // 8, 1, 3)) + 1) or (same and not _rests(fit, last, term)):
                groups[-1].append(int(term))
                continue
        groups.append([int(term)])
    return [np.array(group) for group in groups]


def _rests(fit: Fit, first: int, second: int) -> bool:
    """Whether two rises leave a plateau between them: somewhere the curve climbs at less than 1/CONTRAST of the speed
    of either."""
    pair = np.array([first, second])
    places = np.linspace(fit.centre[first], fit.centre[second], BETWEEN)
    speed = np.gradient((sigmoid(places, fit.centre[pair], fit.width[pair]) * np.abs(fit.rise[pair])).sum(1), places)
    return bool(speed.min() < min(speed[0], speed[-1]) / CONTRAST)


def _joined(judged: _Judged, groups: list[Int[ndarray, "term"]]) -> list[Int[ndarray, "term"]]:
    """Neighbours of one sign are one change where one rise of another shape explains as well as their terms."""
    joined = groups[:1]
    for terms in groups[1:]:
        both = np.concatenate([joined[-1], terms])
        same = len(set(np.sign(judged.fit.rise[both]))) == 1
        if same and _one_shape(judged, both):
            joined[-1] = both
        else:
            joined.append(terms)
    return joined


def _one_shape(judged: _Judged, terms: Int[ndarray, "term"]) -> bool:
    """Whether one rise of one of SHAPES, of any place and width, leaves as little as these terms."""
    curve, fit = judged.curve, judged.fit
    rest = without(curve.y, fit, terms)
    low, high = (fit.centre[terms] - fit.width[terms] / 2).min(), (fit.centre[terms] + fit.width[terms] / 2).max()
    centres, widths = np.linspace(low, high, BETWEEN), (high - low) * np.geomspace(0.05, 1.5, 9)
    least = min(float(profile(curve.y, rest, shape, centres, widths).squares.min()) for shape in SHAPES)
    return len(curve) * np.log(max(least, judged.detail) / max(fit.squares, judged.detail)) <= term_price(len(curve))


def _apart(judged: _Judged, groups: list[Int[ndarray, "term"]]) -> list[Int[ndarray, "term"]]:
    """The groups that stand apart from the smooth rest: it climbs at less than 1/CONTRAST of their speed
    around them, and does not undo them. The others are the steep part of one longer change."""
    curve, fit, fine, least = judged.curve, judged.fit, judged.fine, judged.least
    parts = fit.parts(fine)
    named = np.concatenate([*groups, []]).astype(int)
    rest = parts[:, np.setdiff1d(np.arange(len(fit.centre)), named)].sum(1)
    kept = []
    for terms in groups:
        rise = parts[-1, terms].sum() - parts[0, terms].sum()
        centre, width = fit.centre[terms].mean(), np.ptp(fit.centre[terms]) + fit.width[terms].max()
        gap = np.diff(curve.x)[int(np.clip(np.searchsorted(curve.x, centre) - 1, 0, len(curve) - 2))]
        reach = max(width, gap)
        beside = max(judged.limits.max_width, gap)
        edges = centre + np.array([-reach / 2 - beside, -reach / 2, reach / 2, reach / 2 + beside])
        climb = np.diff(np.interp(edges, fine, rest)) * np.sign(rise)
        fastest = float((climb / np.diff(edges)).max())
        apart = abs(rise) / reach > CONTRAST * fastest and abs(rise) + climb[1] >= least
        if apart or (len(terms) > 1 and _returns(fit, fine, edges[1:3]) >= least):
            kept.append(terms)
    return kept


def _returns(fit: Fit, fine: Float[ndarray, "fine"], edges: Float[ndarray, "2"]) -> float:
    """By how much the fitted curve leaves, between two edges, the range of its values at them."""
    inside = fit.at(fine[(fine >= edges[0]) & (fine <= edges[1])])
    ends = fit.at(edges)
    return float(max(inside.max() - ends.max(), ends.min() - inside.min())) if len(inside) else 0.0


def _p_of(judged: _Judged, terms: Int[ndarray, "term"]) -> float:
    """p-value of some terms given the others."""
    curve, fit = judged.curve, judged.fit
    rest, full = (solve(curve.x, curve.y, f.centre, f.width) for f in (without(curve.y, fit, terms), fit))
    floor = judged.floor / (1 - fit.rho**2)
    statistic = float(np.log(max(rest.squares, floor) / max(full.squares, floor)))
    lag = float(lag_one((curve.y - fit.at())[None])[0])
    dependent = judged.limits.dependent
    return p_value(statistic, lag, n_points=len(curve), n_terms=len(terms), dependent=dependent, worst=False)


def _phases(judged: _Judged, terms: Int[ndarray, "term"], part: Float[ndarray, "fine"], p: float) -> list[Rise]:
    """The monotone phases of the smooth part that change by at least `least`."""
    pieces = [np.clip(np.arange(len(part)), start, stop) for start, stop in _turns(part, judged.least)]
    return [_rise(judged, terms, part[piece], p) for piece in pieces]


def _turns(part: Float[ndarray, "fine"], least: float) -> list[tuple[int, int]]:
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


def _rise(judged: _Judged, terms: Int[ndarray, "term"], part: Float[ndarray, "fine"], p: float) -> Rise:
    curve, fine, limits = judged.curve, judged.fine, judged.limits
    magnitude = float(part[-1] - part[0])
    share = (part - part[0]) / magnitude
    low, mid, high = (_crossing(fine, share, level) for level in (0.1, 0.5, 0.9))
    before, after = _interval(judged, part)
    width = max(high - low, 0.0)
    abrupt = width <= limits.max_width or after - before <= limits.max_checkpoints
    kind = "abrupt" if abrupt else "gradual"
    if limits.confirm and ((before == len(curve) - 2) or after == 1):
        kind = "undetermined"
    mid = float(np.clip(mid, curve.x[before], curve.x[after]))
    low_end, high_end = _band(judged, terms, part, mid, width)
    return Rise(
        kind=kind,
        before=before,
        after=after,
        midpoint=mid,
        low=max(min(mid, low_end), float(curve.x[0])),
        high=min(max(mid, high_end), float(curve.x[-1])),
        width=width,
        magnitude=float(np.clip(magnitude, -np.ptp(curve.y), np.ptp(curve.y))),
        p_value=p,
    )


def _band(
    judged: _Judged, terms: Int[ndarray, "term"], part: Float[ndarray, "fine"], middle: float, width: float
) -> tuple[float, float]:
    """The band of a rise's midpoint, given the fit's other terms and what its own ones say beyond the rise."""
    curve, fit, fine = judged.curve, judged.fit, judged.fine
    beyond = fit.parts()[:, terms].sum(1) - np.interp(curve.x, fine, part)
    target = curve.y - (beyond - beyond[0])
    rest = solve(curve.x, target, np.delete(fit.centre, terms), np.delete(fit.width, terms), fit.rho)
    shape = shape_of(fine, (part - part[0]) / (part[-1] - part[0]))
    own = Own(shape=shape, middle=middle, width=width, n_terms=len(terms))
    return midpoint_band(curve, target, rest, own, judged.floor)


def _bump(judged: _Judged, terms: Int[ndarray, "term"], part: Float[ndarray, "fine"], p: float) -> Rise:
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


def _crossing(fine: Float[ndarray, "fine"], share: Float[ndarray, "fine"], level: float) -> float:
    """Where the share of the rise first reaches `level`."""
    first = int(np.argmax(share >= level))
    if first == 0:
        return float(fine[0])
    below, above = share[first - 1], share[first]
    return float(fine[first - 1] + (fine[first] - fine[first - 1]) * (level - below) / (above - below))


def _interval(judged: _Judged, part: Float[ndarray, "fine"]) -> tuple[int, int]:
    """Last checkpoint below 10 % of the rise, first above 90 %: by the fit where the value agrees with it,
    else by the value."""
    curve, fit = judged.curve, judged.fit
    modelled = np.interp(curve.x, judged.fine, part)
    freedom = max(len(curve) - 1 - 3 * len(fit.centre), 1) * (1 - fit.rho**2)
    noise = np.sqrt(max(fit.squares, judged.floor) / freedom)
    residual = curve.y - fit.at()
    seen = modelled + np.where(np.abs(residual) > 2.5 * noise, residual, 0.0)
    share = (seen - part[0]) / (part[-1] - part[0])
    shape = (modelled - part[0]) / (part[-1] - part[0])
    half = int(np.clip(np.searchsorted(shape, 0.5), 1, len(shape) - 1))
    below = np.flatnonzero(share[:half] < 0.1)
    before = int(below[-1]) if len(below) else 0
    above = np.flatnonzero(share[half:] > 0.9)
    after = half + int(above[0]) if len(above) else len(share) - 1
    return before, after
