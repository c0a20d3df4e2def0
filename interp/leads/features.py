"""Causal features of an indicator: at a checkpoint t, functions of the run's own values at or before t and of nothing
else."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from interp.table.events import tick

FEATURES = ("level", "mean", "change", "deviation", "spread", "memory")


def features(
    step: Float[np.ndarray, "step"], value: Float[np.ndarray, "run step"]
) -> Float[np.ndarray, "run step feature"]:
    """The features of FEATURES, in their order, for runs that share their checkpoints (increasing, finite values).

    The *recent* stretch of t is the checkpoints in (t/2, t], at least the last three; the *past* is all before.

    - level: the value at t.
    - mean: the mean over the recent stretch.
    - change: that mean minus the same mean as it stood at t/2.
    - deviation: robust z of the level against the past, (x − median)/(1.4826·MAD), as asinh, which tames a MAD near 0;
      needs five past checkpoints.
    - spread: log10 of the standard deviation over the recent stretch about its straight line in log step.
    - memory: lag-1 autocorrelation of the same residuals. Spread and memory rise under critical slowing down
      (Scheffer et al. 2009).

    NaN where a feature is not defined yet.
    """
    u = np.log(tick(step))
    first = _recent(step)
    mean = _stretch_means(value, first)
    out = np.full((*value.shape, len(FEATURES)), np.nan)
    out[..., 0] = value
    out[..., 1] = mean
    before = np.searchsorted(step, step / 2, side="right") - 1
    has = before >= 0
    out[:, has, 2] = mean[:, has] - mean[:, before[has]]
    out[..., 3] = _deviation(value, first)
    out[..., 4], out[..., 5] = _fluctuation(u, value, first)
    return out


def _recent(step: np.ndarray, least: int = 3) -> np.ndarray:
    """Index of the first checkpoint of the recent stretch of each checkpoint."""
    first = np.searchsorted(step, step / 2, side="right")
    return np.maximum(np.minimum(first, np.arange(len(step)) - least + 1), 0)


def _sums(x: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Sum over first[k] … k for every k, along the last axis."""
    total = np.concatenate([np.zeros((*x.shape[:-1], 1)), np.cumsum(x, axis=-1)], axis=-1)
    return total[..., 1:] - total[..., first]


def _stretch_means(value: np.ndarray, first: np.ndarray) -> np.ndarray:
    length = np.arange(len(first)) - first + 1
    centre = value[:, :1]
    return centre + _sums(value - centre, first) / length


def _deviation(value: np.ndarray, first: np.ndarray, least: int = 5) -> np.ndarray:
    out = np.full(value.shape, np.nan)
    for start in np.unique(first[first >= least]):  # the past of all checkpoints whose recent stretch starts here
        past = value[:, :start]
        median = np.median(past, axis=1, keepdims=True)
        mad = 1.4826 * np.median(np.abs(past - median), axis=1, keepdims=True)
        here = first == start
        out[:, here] = np.arcsinh((value[:, here] - median) / np.maximum(mad, 1e-9 + 1e-6 * np.abs(median)))
    return out


def _fluctuation(u: np.ndarray, value: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log10 standard deviation and lag-1 autocorrelation about a line, over stretches of at least four."""
    spread, memory = np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    for k in range(value.shape[1]):
        if k - first[k] < 3:
            continue
        here = slice(first[k], k + 1)
        x = u[here] - u[here].mean()
        y = value[:, here] - value[:, here].mean(axis=1, keepdims=True)
        slope = (y @ x) / max(float(x @ x), 1e-12)
        e = y - slope[:, None] * x
        power = (e**2).mean(axis=1)
        scale = 1e-9 + 1e-6 * np.abs(value[:, here]).max(axis=1)
        spread[:, k] = np.log10(np.sqrt(power) + scale)
        memory[:, k] = (e[:, 1:] * e[:, :-1]).sum(axis=1) / np.maximum((e**2).sum(axis=1), len(x) * scale**2)
    return spread, memory
