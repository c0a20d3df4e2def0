"""Metric maps: what a power of a probability, or a soft threshold on a companion or on the step, explains of a jump."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import expit

from interp.jumps.curve import Curve
from interp.jumps.instrument import INSTRUMENT

Pair = tuple[Curve, Curve]
PLACES = 60
REFINED = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """The measure and its companion, both upward, where both were measured, from the trough on. own: the measure's fitted
    curve; log_p: the companion as log-probability, else None; raw, fitted: its values and
    its fitted curve as given."""

    x: Float[ndarray, "point"]
    values: Float[ndarray, "point"]
    own: Float[ndarray, "point"]
    smooth: Float[ndarray, "point"]
    raw: Float[ndarray, "point"]
    fitted: Float[ndarray, "point"]
    log_p: Float[ndarray, "point"] | None
    spread: Float[ndarray, "point"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """Another run where both were measured: the measure upward, the log axis, the companion."""

    values: Float[ndarray, "shared"]
    x: Float[ndarray, "shared"]
    companion: Float[ndarray, "shared"]


def shared(values: Float[ndarray, "point"], curve: Curve, companion: Curve) -> Run:
    """A run's measure and companion at the steps that have both."""
    _, here, there = np.intersect1d(curve.steps, companion.steps, return_indices=True)
    return Run(values=values[here], x=curve.x[here], companion=companion.y[there])


def power(seen: Window, p: Float[ndarray, "point"], known_length: bool) -> float:
    """What p^L explains: of whole answers with the run's own floor and ceiling, else of any length, from 0 to 1."""
    if known_length:
        return explained(seen, p[:, None])
    return explained(seen, p[:, None] ** np.array(INSTRUMENT.lengths), levels=(0.0, 1.0))


def threshold(seen: Window, runs: Sequence[Run] | None, through: str) -> float:
    """What a soft threshold on the companion, or on the step ("clock"), explains: fitted to other runs, whose values
    have noise, and held against this one as measured and as fitted; or, without others, to this one."""
    own = [seen.x] if through == "clock" else [seen.smooth] if runs is None else [seen.raw, seen.fitted]
    if runs is None:
        known = [(seen.values, own[0])]
    else:
        known = [(run.values, run.x if through == "clock" else run.companion) for run in runs]
    best = _fitted(known, np.concatenate([*(beside for _, beside in known), *own]))
    return max(explained(seen, _soft(each, best)) for each in own)


def tells_more(runs: Sequence[Run]) -> bool:
    """Whether the companion tells more than the step does where a run's jump is, over all runs together and less in none, each
    by a threshold fitted to the others. In one run alone a companion of no information does so one time in eight, where runs
    jump a little apart."""
    left = np.array(
        [[_left_by_others(runs, at, through) for through in ("companion", "clock")] for at in range(len(runs))]
    )
    totals = np.array([((run.values - run.values.mean()) ** 2).sum() for run in runs])
    by_companion, by_clock = left.sum(0)
    nowhere_less = bool((left[:, 0] <= left[:, 1] + INSTRUMENT.tie * totals).all())
    return nowhere_less and by_companion <= INSTRUMENT.beats * by_clock - INSTRUMENT.tie * totals.sum()


def _left_by_others(runs: Sequence[Run], at: int, through: str) -> float:
    """What a threshold fitted to the other runs leaves of a run's values, beyond what its own best climb over steps does."""
    beside = [run.x if through == "clock" else run.companion for run in runs]
    known = [(run.values, own) for index, (run, own) in enumerate(zip(runs, beside, strict=True)) if index != at]
    values, x = runs[at].values, runs[at].x
    alone = _lost(values, _soft(x, _fitted([(values, x)], x)))
    return max(float((_lost(values, _soft(beside[at], _fitted(known, np.concatenate(beside)))) - alone)[0]), 0.0)


def _fitted(runs: Sequence[tuple[ndarray, ndarray]], every: Float[ndarray, "point"]) -> Float[ndarray, "2 1"]:
    """The threshold and spread that leave least over some runs: the best of a lattice, then of ever finer ones around
    it."""
    grid, reach = _thresholds(every), float(np.ptp(every)) / PLACES
    for look in range(1 + REFINED):
        lost = np.sum([_lost(values, _soft(beside, grid)) for values, beside in runs], axis=0)
        best = grid[:, [int(lost.argmin())]]
        around = np.meshgrid(np.linspace(-1, 1, 9) * reach / 2**look, 1.6 ** (np.linspace(-1, 1, 9) / 2**look))
        grid = np.stack([best[0] + around[0].ravel(), best[1] * around[1].ravel()])
    return best


def _thresholds(smooth: Float[ndarray, "point"]) -> Float[ndarray, "2 map"]:
    """Thresholds within the range, upward and downward, and spreads."""
    spreads = max(float(np.ptp(smooth)), 1e-12) * np.geomspace(0.01, 0.3, 8)
    both = np.meshgrid(np.linspace(smooth.min(), smooth.max(), PLACES), np.concatenate([spreads, -spreads]))
    return np.stack([axis.ravel() for axis in both])


def _soft(smooth: Float[ndarray, "point"], grid: Float[ndarray, "2 map"]) -> Float[ndarray, "point map"]:
    return np.asarray(expit((smooth[:, None] - grid[0]) / grid[1]))


def explained(seen: Window, maps: Float[ndarray, "point map"], levels: tuple[float, float] | None = None) -> float:
    """The largest share of the variance that a map explains, of what the measure's own fit does: with a floor and a
    ceiling of the run's own, or with given ones. A map that misses by more than INSTRUMENT.misfit of the rise explains
    nothing."""
    total = float(((seen.values - seen.values.mean()) ** 2).sum())
    noise = float(((seen.values - seen.own) ** 2).sum())
    if total == 0 or noise >= total:
        return float("nan")
    left = _lost(seen.values, maps) if levels is None else ((seen.values[:, None] - maps) ** 2).sum(0)
    best = float(left.min())
    allowed = 2 * noise + len(seen.values) * (INSTRUMENT.misfit * float(np.ptp(seen.own))) ** 2
    share = (total - best) / (total - noise)
    return float(min(share, 1.0)) if best <= allowed else min(share, INSTRUMENT.reproduced - 0.01)


def _lost(values: Float[ndarray, "point"], maps: Float[ndarray, "point map"]) -> Float[ndarray, "map"]:
    """What is left of the values by least squares, value = a + b map with b > 0."""
    centred, maps = values - values.mean(), maps - maps.mean(0)
    overlap, power = centred @ maps, (maps**2).sum(0)
    gain = np.where((overlap > 0) & (power > 1e-12), overlap**2 / np.maximum(power, 1e-12), 0.0)
    return np.asarray(float(centred @ centred) - gain)
