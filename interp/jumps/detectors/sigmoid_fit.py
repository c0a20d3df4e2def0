"""The default detector: a curve is a constant plus a few sigmoids in log step; its changes are read off the fitted curve.

1. Does anything change? The best few sigmoids against serially dependent noise that goes through the same fit (`null`).
2. Which curve? Spikes set aside, then terms while they pay, by generalised least squares (`_fit`).
3. Which changes? From plateau to plateau of that curve (`_changes`).
4. How wide is each, and where? All single rises, of six shapes, that describe it as well as can be (`_reading`);
   whether those are narrow, wide or both decides the kind (`verdict.kind_of`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from interp.jumps.curve import RESOLUTION, Curve, select, standardise
from interp.jumps.detectors._atoms import greedy, grid_of, lag_one, pursue
from interp.jumps.detectors._changes import Judged, changes
from interp.jumps.detectors._fit import Data, Fit, outlier_of, solve, term_price, weighted
from interp.jumps.detectors._long import chosen
from interp.jumps.detectors._search import fit_curve
from interp.jumps.detectors._spikes import Spike, find_spikes, merged, most_spikes, spiked
from interp.jumps.instrument import INSTRUMENT
from interp.jumps.null import by_known_errors, dependence, leaps, max_terms, p_value
from interp.jumps.verdict import Limits, Rise, Verdict

AROUND = 5
"""Chosen checkpoints on either side of a change, between which it is placed among all: enough to show both levels."""


def sigmoid_fit(curve: Curve, limits: Limits) -> Verdict:
    """The rises, falls and spikes of a curve; one longer than `INSTRUMENT.long` is judged by some of its checkpoints, and by
    all where it changes."""
    if len(curve) > INSTRUMENT.long:
        return _long(curve, limits)
    fewest = INSTRUMENT.fewest
    if len(curve) < fewest:
        return Verdict(reason=f"{len(curve)} usable checkpoints; at least {fewest} are needed")
    low = float(curve.y.min())
    curve, unit = standardise(curve)
    spikes = find_spikes(curve)
    while True:
        kept = np.flatnonzero(~spiked(len(curve), spikes))
        part = select(curve, kept)
        if len(part) < fewest:
            return Verdict(reason=f"{len(part)} checkpoints without the spikes; at least {fewest} are needed")
        p, rho, fit, found, outlier = _judged(part, limits)
        if outlier is None or len(spikes) >= most_spikes(len(curve)):
            break
        spikes.append(Spike(start=int(kept[outlier]), stop=int(kept[outlier]) + 1))
    rises = [replace(rise, before=int(kept[rise.before]), after=int(kept[rise.after])) for rise in found]
    least = limits.min_magnitude * curve.span
    rises += [_as_rise(curve, spike) for spike in merged(curve, spikes) if abs(spike.height) >= least]
    rises.sort(key=lambda rise: rise.midpoint)
    fitted = low + unit * np.interp(curve.x, part.x, fit.at)
    return Verdict(rises=tuple(_in_units(rise, low, unit) for rise in rises), p_value=p, rho=rho, fitted=fitted)


def _long(curve: Curve, limits: Limits) -> Verdict:
    """The verdict on some of the checkpoints, each change placed among all those around it."""
    even, unit = standardise(curve)
    spikes = find_spikes(even)
    kept = np.flatnonzero(~spiked(len(curve), spikes))
    some = kept[chosen(curve.x[kept], INSTRUMENT.long)]
    verdict = sigmoid_fit(select(curve, some), limits)
    rises = [_closer(curve, kept, some, rise, limits) for rise in verdict.rises]
    least, low = limits.min_magnitude * even.span, float(curve.y.min())
    found = [_as_rise(even, spike) for spike in merged(even, spikes) if abs(spike.height) >= least]
    rises = sorted([*rises, *(_in_units(rise, low, unit) for rise in found)], key=lambda rise: rise.midpoint)
    fitted = None if verdict.fitted is None else np.interp(curve.x, curve.x[some], verdict.fitted)
    return replace(verdict, rises=tuple(rises), fitted=fitted)


def _closer(curve: Curve, kept: Int[ndarray, "point"], some: Int[ndarray, "some"], rise: Rise, limits: Limits) -> Rise:
    """A rise between some checkpoints among all those around it, where they are few and show the same change."""
    placed = replace(rise, before=int(some[rise.before]), after=int(some[rise.after]))
    first, last = some[max(rise.before - AROUND, 0)], some[min(rise.after + AROUND, len(some) - 1)]
    window = kept[(kept >= first) & (kept <= last)]
    if rise.kind == "spike" or len(window) > len(curve) / 4:
        return placed
    seen = sigmoid_fit(select(curve, window), replace(limits, min_magnitude=0.5 * limits.min_magnitude)).rises
    same = [one for one in seen if one.kind != "spike" and one.magnitude * rise.magnitude > 0]
    best = max(same, key=lambda one: abs(one.magnitude), default=None)
    if best is None or abs(best.magnitude) < 0.5 * abs(rise.magnitude):
        return placed
    close = {name: getattr(best, name) for name in ("midpoint", "low", "high", "width")}
    narrow = min(rise.width_low, best.width)
    return replace(rise, before=int(window[best.before]), after=int(window[best.after]), width_low=narrow, **close)


def _judged(curve: Curve, limits: Limits) -> tuple[float, float, Fit, list[Rise], int | None]:
    """p-value, autocorrelation, fit and changes of a curve, and the index of a point that has to be set aside first."""
    floor = _floor(curve)
    data = Data(x=curve.x, y=curve.y, weight=np.ones(len(curve)), rho=0.0, floor=floor)
    constant = solve(data, np.zeros(0), np.zeros(0))
    if np.ptp(curve.y) == 0:
        return 1.0, 0.0, constant, [], None
    p = _anything(curve, floor, limits)
    data = replace(data, floor=max(floor, _detail(curve)))
    if p > limits.level:
        return p, _rho(data, constant, limits), constant, [], outlier_of(data, constant)
    fit, outlier = fit_curve(data)
    rho = _rho(data, fit, limits)
    if outlier is None:
        data, fit, outlier = _refitted(weighted(data, curve.sigma, fit), fit, rho, curve.sigma, limits)
        rho = data.rho
    least = limits.min_magnitude * curve.span
    found = changes(Judged(curve=curve, data=data, fit=fit, limits=limits, least=least, p=p))
    return p, rho, fit, found, outlier


def _refitted(
    data: Data, first: Fit, rho: float, sigma: Float[ndarray, "point"], limits: Limits
) -> tuple[Data, Fit, int | None]:
    """The fit with weights, for the autocorrelation that the first fit's residuals suggest and, since terms eat
    dependence, for a strong one: whichever is likelier at the price of its terms. A strong one makes errors alike, not
    large: it may not leave much more than the known errors, or than the first fit leaves."""
    strong = limits.dependent and len(first.centre) > 1
    found = []
    known = (
        max(len(data) * float((sigma**2).mean()), float(((data.y - first.at) ** 2).sum())) if sigma.all() else np.inf
    )
    for each in {rho, INSTRUMENT.strong} if strong else {rho}:
        white = replace(data, rho=each, floor=data.floor * (1 - each**2))
        fit, outlier = fit_curve(white, first)
        if each != rho and ((data.y - fit.at) ** 2).sum() > INSTRUMENT.as_known * known:
            continue
        price = term_price(len(data)) * len(fit.centre) - float(np.log(1 - each**2))
        found.append((len(data) * np.log(max(fit.squares, white.floor)) + price, each, white, fit, outlier))
    return min(found, key=lambda one: one[:2])[2:]


def _rho(data: Data, fit: Fit, limits: Limits) -> float:
    if not limits.dependent:
        return 0.0
    lag = float(lag_one((data.y - fit.at)[None])[0])
    return dependence(lag, n_points=len(data), n_terms=max(len(fit.centre), 1))


def _floor(curve: Curve) -> float:
    """The least sum of squares that residuals can be believed to have: known errors, and the resolution of the
    measure."""
    return max(len(curve) * float((curve.sigma**2).mean()), _resolution(curve))


def _resolution(curve: Curve) -> float:
    return len(curve) * max((RESOLUTION * curve.span) ** 2, 1e-24)


def _detail(curve: Curve) -> float:
    """The sum of squares below which shapes are not told apart: a hundredth of what the curve covers. Known errors do
    not enter, since those of the same examples are shared and residuals may well be smaller."""
    return max(len(curve) * (INSTRUMENT.detail * float(np.ptp(curve.y))) ** 2, _resolution(curve))


def _anything(curve: Curve, floor: float, limits: Limits) -> float:
    """p-value of the best number of greedy terms against the null."""
    n_points, most = len(curve), max_terms(len(curve))
    squares, lags = pursue(curve.y[None], greedy(grid_of(curve.x)), most)
    statistic = np.log(np.maximum(squares[0, 0], 1e-300) / np.maximum(squares[0], floor))
    n_terms = 1 + int(np.argmax(n_points * statistic[1:] - term_price(n_points) * np.arange(1, most + 1)))
    lag = float(lags[0, n_terms])
    leap = float(leaps(curve.y[None], np.sqrt(floor / n_points))[0])
    p = p_value(statistic[n_terms], lag, n_points=n_points, n_terms=n_terms, leap=leap, dependent=limits.dependent)
    return min(p, max(by_known_errors(curve.y, curve.sigma), 1e-12))


def _as_rise(curve: Curve, spike: Spike) -> Rise:
    """A spike as an entry: its interval runs from the checkpoint before it to the one after."""
    before, after = spike.start - 1, spike.stop
    low, high = float(curve.x[before]), float(curve.x[after])
    top = float(np.interp(curve.x[spike.start], [low, high], curve.y[[before, after]]))
    return Rise(
        kind="spike",
        before=before,
        after=after,
        midpoint=float(curve.x[spike.start : spike.stop].mean()),
        low=low,
        high=high,
        width=high - low,
        magnitude=spike.height,
        p_value=float("nan"),
        value_before=top,
        value_after=top + spike.height,
    )


def _in_units(rise: Rise, low: float, unit: float) -> Rise:
    """The rise of standardised values in the units of the curve."""
    return replace(
        rise,
        magnitude=rise.magnitude * unit,
        value_before=low + unit * rise.value_before,
        value_after=low + unit * rise.value_after,
    )
