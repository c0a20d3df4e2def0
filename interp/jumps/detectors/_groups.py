"""Which terms of a fit make one change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from interp.jumps.curve import Curve
from interp.jumps.detectors._atoms import gap_at, sigmoid
from interp.jumps.detectors._fit import Fit, evidence, term_price, without
from interp.jumps.detectors._shapes import SHAPES, profile
from interp.jumps.verdict import Limits

CONTRAST = 5.0
BETWEEN = 41

Terms = Int[ndarray, "term"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A curve and its fit, as rises are read off it: `fine` is a dense log-step axis, `floor` the least believable sum
    of squares, `detail` the one below which shapes are not told apart, `least` the least magnitude."""

    curve: Curve
    fit: Fit
    fine: Float[ndarray, "fine"]
    limits: Limits
    floor: float
    detail: float
    least: float


def grouped(judged: Judged, narrow: Bool[ndarray, "term"]) -> tuple[list[Terms], Terms]:
    """The terms of each change that stands out, and those of the smooth rest, all of whose changes are wide."""
    fit = judged.fit
    groups = _apart(judged, _joined(judged, _close(judged.curve.x, fit, np.flatnonzero(narrow))))
    smooth = np.setdiff1d(np.arange(len(fit.centre)), np.concatenate([*groups, []]).astype(int))
    for k, terms in enumerate(groups):
        if len(smooth) and _one_shape(judged, np.concatenate([terms, smooth])):
            groups[k], smooth = np.concatenate([terms, smooth]), smooth[:0]
    return groups, smooth


def _close(x: Float[ndarray, "point"], fit: Fit, narrow: Terms) -> list[Terms]:
    """Narrow terms in order of centre; those of one sign join where no plateau lies between them, those of opposite
    signs where at most three checkpoints do."""
    groups: list[list[int]] = []
    for term in narrow[np.argsort(fit.centre[narrow])].tolist():
        if groups:
            last = groups[-1][-1]
            low = fit.centre[last] + fit.width[last] / 2
            high = fit.centre[term] - fit.width[term] / 2
            between = int(((x > low) & (x < high)).sum())
            same = np.sign(fit.rise[term]) == np.sign(fit.rise[last])
            if not _rests(x, fit, last, term) if same else between <= int(np.clip(len(x) // 8, 1, 3)):
                groups[-1].append(term)
                continue
        groups.append([term])
    return [np.array(group) for group in groups]


def _rests(x: Float[ndarray, "point"], fit: Fit, first: int, second: int) -> bool:
    """Whether the checkpoints show a plateau between two rises: from one to the next, both between the centres, they
    climb at less than 1/CONTRAST of the speed of either."""
    pair = np.array([first, second])
    inside = np.flatnonzero((x >= fit.centre[first]) & (x <= fit.centre[second]))
    if len(inside) < 2:
        return False
    height = (sigmoid(x[inside], fit.centre[pair], fit.width[pair]) * np.abs(fit.rise[pair])).sum(1)
    speed = np.abs(fit.rise[pair]) / np.maximum(fit.width[pair], gap_at(x, fit.centre[pair]))
    return bool((np.diff(height) / np.diff(x[inside])).min() < speed.min() / CONTRAST)


def _joined(judged: Judged, groups: list[Terms]) -> list[Terms]:
    """Neighbours are one change where one rise of another shape explains as well as their terms."""
    joined = groups[:1]
    for terms in groups[1:]:
        both = np.concatenate([joined[-1], terms])
        if _one_shape(judged, both):
            joined[-1] = both
        else:
            joined.append(terms)
    return joined


def _one_shape(judged: Judged, terms: Terms) -> bool:
    """Whether these terms are of one sign and one rise of one of SHAPES, of any place and width, describes the curve
    as well as they do, but for what their further terms cost."""
    curve, fit = judged.curve, judged.fit
    if len(set(np.sign(fit.rise[terms]))) > 1:
        return False
    rest = without(curve.y, fit, terms)
    low, high = (fit.centre[terms] - fit.width[terms] / 2).min(), (fit.centre[terms] + fit.width[terms] / 2).max()
    centres, widths = np.linspace(low, high, BETWEEN), (high - low) * np.geomspace(0.05, 1.5, 9)
    least = min(float(profile(curve.y, rest, shape, centres, widths).squares.min()) for shape in SHAPES)
    lost = evidence(len(curve), least, fit.squares, judged.detail)
    return lost <= (len(terms) - 1) * term_price(len(curve))


def _apart(judged: Judged, groups: list[Terms]) -> list[Terms]:
    """The groups that stand apart from the smooth rest: it climbs at less than 1/CONTRAST of their speed
    around them, and nothing undoes them. The others are the steep part of one longer change."""
    curve, fit, fine, least = judged.curve, judged.fit, judged.fine, judged.least
    parts = fit.parts(fine)
    named = np.concatenate([*groups, []]).astype(int)
    rest = parts[:, np.setdiff1d(np.arange(len(fit.centre)), named)].sum(1)
    speed, kept = np.gradient(rest, fine), []
    for terms in groups:
        rise = parts[-1, terms].sum() - parts[0, terms].sum()
        centre, width = fit.centre[terms].mean(), np.ptp(fit.centre[terms]) + fit.width[terms].max()
        gap = float(gap_at(curve.x, centre))
        reach = max(width, gap)
        beside = max(2 * judged.limits.max_width, gap)
        edges = centre + np.array([-reach / 2 - beside, -reach / 2, reach / 2, reach / 2 + beside])
        climb = np.diff(np.interp(edges, fine, rest)) * np.sign(rise)
        around = (fine >= edges[0]) & (fine <= edges[-1])
        fastest = float(max((speed[around] * np.sign(rise)).max(), climb[1] / reach))
        across = np.diff(fit.at(edges[1:3]))[0] * np.sign(rise)
        apart = abs(rise) / reach > CONTRAST * fastest and across >= least / 2
        if apart or (len(terms) > 1 and _returns(fit, fine, edges[1:3]) >= least):
            kept.append(terms)
    return kept


def _returns(fit: Fit, fine: Float[ndarray, "fine"], edges: Float[ndarray, "2"]) -> float:
    """By how much the fitted curve leaves, between two edges, the range of its values at them."""
    inside = fit.at(fine[(fine >= edges[0]) & (fine <= edges[1])])
    ends = fit.at(edges)
    return float(max(inside.max() - ends.max(), ends.min() - inside.min())) if len(inside) else 0.0
