"""Spikes: one to three checkpoints that stand out and return to where the curve was. They are set aside before
jumps are sought."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from interp.jumps.curve import RESOLUTION, Curve
from interp.jumps.instrument import INSTRUMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Spike:
    """Points start … stop - 1 of the curve, `height` (signed) beyond the neighbours on both sides."""

    start: int
    stop: int
    height: float = 0.0


def find_spikes(curve: Curve) -> list[Spike]:
    """Excursions of more than five times the noise whose two sides agree to within their height, highest first.

    The noise is the robust scale of the differences between checkpoints, over the curve and around the
    excursion, or the known standard error where that is larger. An excursion at either end has one side only
    and is no spike by this definition.
    """
    kept = np.arange(len(curve))
    found: list[Spike] = []
    while len(kept) > 5 and len(found) < most_spikes(len(curve)):
        best = max(_excursions(curve, kept), key=lambda spike: abs(spike.height), default=None)
        if best is None:
            break
        found.append(Spike(start=int(kept[best.start]), stop=int(kept[best.stop - 1]) + 1, height=best.height))
        kept = np.delete(kept, np.arange(best.start, best.stop))
    return found


def spiked(n_points: int, spikes: list[Spike]) -> Float[ndarray, "point"]:
    """True at the points that belong to a spike."""
    mask = np.zeros(n_points, bool)
    for spike in spikes:
        mask[spike.start : spike.stop] = True
    return mask


def most_spikes(n_points: int) -> int:
    """A fifth of the checkpoints, ten at the most: a curve of spikes has none."""
    return min(n_points // 5, 10)


def merged(curve: Curve, spikes: list[Spike]) -> list[Spike]:
    """Spikes in order, touching ones as one; the height is the largest distance from the line between the
    points around it."""
    mask = np.append(spiked(len(curve), spikes), False)
    edges = np.flatnonzero(np.diff(mask.astype(int), prepend=0))
    outside = ~mask[:-1]
    found = []
    for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        line = np.interp(curve.x[start:stop], curve.x[outside], curve.y[outside])
        above = curve.y[start:stop] - line
        found.append(Spike(start=start, stop=stop, height=float(above[np.abs(above).argmax()])))
    return found


def _excursions(curve: Curve, kept: np.ndarray) -> list[Spike]:
    y, sigma = curve.y[kept], curve.sigma[kept]
    n_points = len(y)
    steps = np.abs(np.diff(y))
    floor = max(_scale(steps), RESOLUTION * curve.span)
    found = []
    for length in range(1, 1 + int(np.clip(n_points // 8, 1, 3))):
        inside = np.lib.stride_tricks.sliding_window_view(y, length)[1:-1]
        left, right = y[: -length - 1], y[length + 1 :]
        up, down = inside.min(1) - np.maximum(left, right), np.minimum(left, right) - inside.max(1)
        height = np.maximum(up, down)
        for before in np.flatnonzero((height > INSTRUMENT.spike * floor) & (np.abs(left - right) <= height)).tolist():
            start, stop = before + 1, before + 1 + length
            around = np.concatenate([steps[max(start - 5, 0) : before], steps[stop : stop + 4]])
            noise = max(floor, _scale(around), float(np.max(sigma[max(start - 2, 0) : stop + 2])))
            if height[before] > INSTRUMENT.spike * noise:
                signed = height[before] if up[before] > down[before] else -height[before]
                found.append(Spike(start=start, stop=stop, height=float(signed)))
    return found


def _scale(steps: Float[ndarray, "difference"]) -> float:
    """The standard deviation of single values, from the median absolute difference of neighbours."""
    return float(1.4826 * np.median(steps) / np.sqrt(2)) if len(steps) else 0.0
