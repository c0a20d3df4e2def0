"""The default detector: a curve is a constant plus a few sigmoids in log step; each rise is judged by its width.

Greedy least squares over a dictionary of sigmoids decides, against serially dependent noise, whether anything
changes at all. A narrow rise has to beat the best description by wide ones before it is called abrupt.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from interp.jumps.curve import RESOLUTION, Curve, select, standardise
from interp.jumps.detectors._atoms import Atoms, dictionary, lag_one, pursue
from interp.jumps.detectors._fit import (
    Fit,
    empty,
    evidence,
    grow,
    part,
    polish,
    settle,
    tame,
    term_price,
    without,
    worth,
)
from interp.jumps.detectors._rise import as_rise, rises
from interp.jumps.null import dependence, leaps, max_terms, p_value
from interp.jumps.spikes import THRESHOLD, Spike, find_spikes, merged, most_spikes, spiked
from interp.jumps.verdict import Limits, Rise, Verdict

FEWEST = 5
DETAIL = 0.01


def sigmoid_fit(curve: Curve, limits: Limits) -> Verdict:
    """The rises, falls and spikes of a curve."""
    if len(curve) < FEWEST:
        return Verdict(reason=f"{len(curve)} usable checkpoints; at least {FEWEST} are needed")
    low = float(curve.y.min())
    curve, unit = standardise(curve)
    spikes = find_spikes(curve)
    while True:
        kept = np.flatnonzero(~spiked(len(curve), spikes))
        part = select(curve, kept)
        if len(part) < FEWEST:
            return Verdict(reason=f"{len(part)} checkpoints without the spikes; at least {FEWEST} are needed")
        p, fit, changes, outlier = _changes(part, limits, may_spare=len(spikes) < most_spikes(len(curve)))
        if outlier is None:
            break
        spikes.append(Spike(start=int(kept[outlier]), stop=int(kept[outlier]) + 1))
    found = [replace(change, before=int(kept[change.before]), after=int(kept[change.after])) for change in changes]
    least = limits.min_magnitude * curve.span
    found += [as_rise(curve, spike) for spike in merged(curve, spikes) if abs(spike.height) >= least]
    found = [replace(rise, magnitude=rise.magnitude * unit) for rise in sorted(found, key=lambda rise: rise.midpoint)]
    fitted = low + unit * (fit.at(curve.x) - float(curve.y.min()))
    return Verdict(rises=tuple(found), p_value=p, rho=fit.rho, fitted=fitted)


def _changes(curve: Curve, limits: Limits, *, may_spare: bool) -> tuple[float, Fit, list[Rise], int | None]:
    """p-value, fit and changes of a curve, and the index of a point that has to be set aside first, if there is one."""
    constant = empty(curve.x, curve.y)
    if np.ptp(curve.y) == 0:
        return 1.0, constant, [], None
    atoms, floor = dictionary(curve.x), _floor(curve)
    p = _anything(curve, atoms, floor, limits)
    if p > limits.level:
        return (
            p,
            replace(constant, rho=_rho(curve.y, constant, limits)),
            [],
            _outlier(curve.y, constant, floor) if may_spare else None,
        )
    shape = max(floor, _detail(curve))
    fit, outlier = _select(curve.y, atoms, shape)
    rho = _rho(curve.y, fit, limits)
    outlier = outlier if may_spare else None
    if outlier is None and rho:
        atoms, floor = dictionary(curve.x, rho), floor * (1 - rho**2)
        fit, outlier = _select(curve.y, atoms, shape * (1 - rho**2))
    if outlier is not None and may_spare:
        return p, fit, [], outlier
    detail = _detail(curve) * (1 - rho**2)
    fit, narrow = _justify(curve, fit, atoms, limits, detail)
    return p, fit, rises(curve, fit, narrow, limits, floor, detail, p), None


def _rho(y: Float[ndarray, "point"], fit: Fit, limits: Limits) -> float:
    if not limits.dependent:
        return 0.0
    lag = float(lag_one((y - fit.at())[None])[0])
    return dependence(lag, n_points=len(y), n_terms=max(len(fit.centre), 1))


def _floor(curve: Curve) -> float:
    """The least sum of squares that residuals can be believed to have: known errors, and the resolution of the
    measure."""
    return max(len(curve) * float((curve.sigma**2).mean()), _resolution(curve))


def _resolution(curve: Curve) -> float:
    """The sum of squares that the measure's resolution alone leaves."""
    return len(curve) * max((RESOLUTION * curve.span) ** 2, 1e-24)


def _detail(curve: Curve) -> float:
    """The sum of squares below which shapes are not told apart: a hundredth of what the curve covers. Known errors do
    not enter, since those of the same examples are shared and residuals may well be smaller."""
    return max(len(curve) * (DETAIL * float(np.ptp(curve.y))) ** 2, _resolution(curve))


def _anything(curve: Curve, atoms: Atoms, floor: float, limits: Limits) -> float:
    """p-value of the best number of greedy terms against the null."""
    n_points, most = len(curve), max_terms(len(curve))
    squares, lags = pursue(curve.y[None], atoms.values, most)
    statistic = np.log(np.maximum(squares[0, 0], 1e-300) / np.maximum(squares[0], floor))
    n_terms = 1 + int(np.argmax(n_points * statistic[1:] - term_price(n_points) * np.arange(1, most + 1)))
    lag = float(lags[0, n_terms])
    leap = float(leaps(curve.y[None], np.sqrt(floor / n_points))[0])
    return p_value(statistic[n_terms], lag, n_points=n_points, n_terms=n_terms, leap=leap, dependent=limits.dependent)


def _select(y: Float[ndarray, "point"], atoms: Atoms, floor: float) -> tuple[Fit, int | None]:
    """Add terms that pay, one or two at a time (a bump needs two), unless setting one point aside explains as much."""
    fit = empty(atoms.x, y, atoms.rho)
    most, price = max_terms(len(y)), term_price(len(y))
    while not len(fit.centre) or (len(fit.centre) < most and fit.squares > floor):
        outlier = _outlier(y, fit, floor)
        one = _one_more(y, fit, atoms)
        if outlier is not None and fit.squares - worth(y, fit)[outlier] <= one.squares:
            return fit, outlier
        if not len(fit.centre) or (evidence(len(y), fit.squares, one.squares, floor) > price and tame(y, one)):
            fit = one
            continue
        if outlier is not None:
            return fit, outlier
        if len(one.centre) == most:
            break
        two = _one_more(y, one, atoms)
        if evidence(len(y), fit.squares, two.squares, floor) <= 2 * price or not tame(y, two):
            break
        fit = two
    fit = polish(y, _prune(y, fit, atoms, price, floor))
    return fit, _outlier(y, fit, floor)


def _one_more(y: Float[ndarray, "point"], fit: Fit, atoms: Atoms) -> Fit:
    """The fit with one more term: added beside the others, or by parting one of them in two, which finds staircases."""
    options = [grow(y, fit, atoms), *(part(y, fit, term) for term in range(len(fit.centre)))]
    return min((settle(y, option, atoms) for option in options), key=lambda option: option.squares)


def _outlier(y: Float[ndarray, "point"], fit: Fit, floor: float) -> int | None:
    """The inner point beyond both its neighbours, by half of its distance from the fit at least, whose deletion explains
    most, where it stands out by more than THRESHOLD standard deviations."""
    before, after = y[1:-1] - y[:-2], y[1:-1] - y[2:]
    alone = np.minimum(np.abs(before), np.abs(after)) >= 0.5 * np.abs(y - fit.at())[1:-1]
    beyond = (before * after > 0) & alone
    gain = np.where(beyond, worth(y, fit)[1:-1], 0.0)
    freedom = len(y) - 2 - 3 * len(fit.centre)
    noise = max(fit.squares - gain.max(), floor) / max(freedom, 1)
    return int(gain.argmax()) + 1 if freedom >= 3 and gain.max() > THRESHOLD**2 * noise else None


def _prune(y: Float[ndarray, "point"], fit: Fit, atoms: Atoms, price: float, floor: float) -> Fit:
    while len(fit.centre) > 1:
        fewer = min((without(y, fit, term) for term in range(len(fit.centre))), key=lambda rest: rest.squares)
        fewer = settle(y, fewer, atoms)
        if evidence(len(y), fewer.squares, fit.squares, floor) > price:
            return fit
        fit = fewer
    return fit


def _justify(curve: Curve, fit: Fit, atoms: Atoms, limits: Limits, floor: float) -> tuple[Fit, Bool[ndarray, "term"]]:
    """Replace narrow terms by wide ones where the data do not insist; returns the fit and which of its terms
    are narrow."""
    wide = atoms.width > limits.max_width
    narrow = fit.width <= limits.max_width
    if not wide.any():
        return fit, narrow
    for _ in range(len(fit.centre)):
        suspects = np.flatnonzero(narrow)
        options = [_smoother(curve.y, fit, int(term), atoms, wide, narrow) for term in suspects]
        options = [smoother for smoother in options if tame(curve.y, smoother)]
        if not options:
            break
        smoother = min(options, key=lambda option: option.squares)
        extra = len(smoother.centre) - len(fit.centre)
        insisted = evidence(len(curve), smoother.squares, fit.squares, floor)
        if insisted > limits.sharpness - extra * term_price(len(curve)):
            break
        fit, narrow = smoother, smoother.width <= limits.max_width
    return fit, narrow


def _smoother(
    y: Float[ndarray, "point"],
    fit: Fit,
    term: int,
    atoms: Atoms,
    wide: Bool[ndarray, "atom"],
    narrow: Bool[ndarray, "term"],
) -> Fit:
    """The fit with one narrow term replaced by a wide one, and by a second one where a wide one stands beside
    it already."""
    rest = without(y, fit, term)
    others = np.delete(narrow, term)
    smoother = grow(y, rest, atoms, wide)
    if len(others) and not others.all() and len(smoother.centre) < max_terms(len(y)):
        smoother = grow(y, smoother, atoms, wide)
    if not others.any():
        smoother = settle(y, smoother, atoms, wide)
    return smoother
