"""A plain second opinion: levels and the stretches between them, by dynamic programming. Shares no code with `sigmoid_fit`.

The curve is cut into stretches of a constant level, by least squares at a price a cut (BIC with the noise from differences
of second order). Neighbouring levels that go one way without a plateau of `LEVEL` checkpoints between them are one rise.
Its 10-90 % width is bounded by what its checkpoints show: the last of the level before, the first of the level after.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from interp.jumps.curve import Curve
from interp.jumps.verdict import Limits, Rise, Verdict, kind_of

FEWEST, LEVEL, PRICE, CELLS = 5, 3, 4.0, 400


def piecewise(curve: Curve, limits: Limits) -> Verdict:
    """The rises and falls of a curve; its spikes are not told apart from short levels."""
    n_points = len(curve)
    if n_points < FEWEST:
        return Verdict(reason=f"{n_points} usable checkpoints; at least {FEWEST} are needed")
    y = curve.y
    second = y[2:] - 2 * y[1:-1] + y[:-2]
    noise = max(float(1.4826 * np.median(np.abs(second)) / np.sqrt(6)), float(curve.sigma.mean()), 1e-3 * curve.span)
    cuts = _cuts(y, PRICE * np.log(n_points) * noise**2) if noise > 0 else [0, n_points]
    levels = [(a, b, float(y[a:b].mean())) for a, b in pairwise(cuts)]
    fitted = np.concatenate([np.full(b - a, level) for a, b, level in levels])
    rises = [_rise(curve, run, noise, limits) for run in _runs(levels, limits.min_magnitude * curve.span)]
    left, total = float(((y - fitted) ** 2).sum()), float(((y - y.mean()) ** 2).sum())
    p = 1.0 if total == 0 or len(levels) == 1 else max((max(left, noise**2) / total) ** (n_points / 4), 1e-12)
    return Verdict(rises=tuple(rises), p_value=min(p, 1.0), fitted=fitted)


def _cuts(y: Float[ndarray, "point"], price: float) -> list[int]:
    """Where the stretches of the cheapest piecewise constant curve begin, and its end."""
    n_points = len(y)
    every = max(1, -(-n_points // CELLS))
    places = np.unique(np.append(np.arange(0, n_points, every), n_points))
    sums, squares = np.append(0, np.cumsum(y))[places], np.append(0, np.cumsum(y**2))[places]
    cost, last = np.zeros(len(places)), np.zeros(len(places), int)
    for end in range(1, len(places)):
        length = places[end] - places[:end]
        inside = squares[end] - squares[:end] - (sums[end] - sums[:end]) ** 2 / length
        total = cost[:end] + inside + price
        last[end] = int(total.argmin())
        cost[end] = total[last[end]]
    found = [len(places) - 1]
    while found[-1] > 0:
        found.append(int(last[found[-1]]))
    return [int(places[place]) for place in reversed(found)]


def _runs(levels: list[tuple[int, int, float]], least: float) -> list[list[tuple[int, int, float]]]:
    """Neighbouring levels that go one way, from plateau to plateau, and get at least so far."""
    runs: list[list[tuple[int, int, float]]] = []
    for before, after in pairwise(levels):
        last = runs[-1] if runs else None
        same = last is not None and (after[2] - before[2]) * (last[-1][2] - last[0][2]) > 0
        if last is not None and same and before[1] - before[0] < LEVEL:
            last.append(after)
        else:
            runs.append([before, after])
    return [run for run in runs if abs(run[-1][2] - run[0][2]) >= least]


def _rise(curve: Curve, run: list[tuple[int, int, float]], noise: float, limits: Limits) -> Rise:
    first, last = run[0], run[-1]
    before, after = first[1] - 1, last[0]
    height, x = last[2] - first[2], curve.x
    share = np.maximum.accumulate((curve.y[before : after + 1] - first[2]) / height)
    low, middle, high = (float(np.interp(level, share, x[before : after + 1])) for level in (0.1, 0.5, 0.9))
    inner = float(x[after - 1] - x[before + 1]) if after - before > 2 else 0.0
    short = LEVEL - 1 if limits.confirm else 1
    ends = [name for name, level in (("first", first), ("last", last)) if level[1] - level[0] < short]
    unfinished = f"too few checkpoints show the level at the {ends[0]} checkpoint" if ends else ""
    widest = 0.8 * float(x[after] - x[before])
    kind, reason = kind_of(0.8 * inner, widest, limits, gap=float(x[before + 1] - x[before]), unfinished=unfinished)
    return Rise(
        kind=kind,
        before=before,
        after=after,
        midpoint=middle,
        low=float(x[before]),
        high=float(x[after]),
        width=high - low,
        magnitude=height,
        p_value=float(np.exp(-min((height / noise) ** 2 / 8, 27))),
        width_low=0.8 * inner,
        width_high=widest,
        value_before=first[2],
        value_after=last[2],
        left_censored=before == 0,
        reason=reason,
    )
