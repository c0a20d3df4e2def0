"""The event of a run: when its behaviour jumps, if it does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.jumps.curve import make_curve
from interp.jumps.verdict import Limits
from interp.leads.features import tick
from interp.plugins import load


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """T: last checkpoint below 10 % of the rise; middle: the half-way step; both infinite without a completed jump.
    centre, width: log10 of the half-way step and 10-90 % width in decades of the first upward rise, completed or not;
    NaN without one. reason: why the curve cannot be judged, else ""."""

    T: float = np.inf
    middle: float = np.inf
    centre: float = np.nan
    width: float = np.nan
    reason: str = ""


def first_event(
    rows: pd.DataFrame, *, measure: str, min_magnitude: float, span: float | None = None, detector: str = "sigmoid_fit"
) -> Event:
    """The first completed upward jump, abrupt or gradual, of at least `min_magnitude` of the measure's range, in the
    rows of one curve of the contract's table.

    It is completed when a checkpoint follows the first one above 90 % of the rise: a rise that the last checkpoint
    cuts off is still under way. Whether a smoother companion measure explains the jump is not asked: users want
    warning of either.
    """
    columns = {name: rows[name].to_numpy(float) for name in ("stderr", "n")}
    curve = make_curve(
        rows["step"].to_numpy(float), rows["value"].to_numpy(float), measure=measure, span=span, **columns
    )
    found = load("jumps.detectors", detector)(curve, Limits(min_magnitude=min_magnitude))
    if found.reason is not None:
        return Event(reason=found.reason)
    up = [rise for rise in found.rises if rise.kind in ("abrupt", "gradual") and rise.magnitude > 0]
    if not up:
        return Event()
    centre, width = float(up[0].midpoint), float(up[0].width)
    for rise in up:
        if rise.after < len(curve) - 1:
            T = float(tick(curve.steps)[rise.before])
            return Event(T=T, middle=float(10**rise.midpoint), centre=centre, width=width)
    return Event(centre=centre, width=width)


def under_way(event: Event, step: Float[np.ndarray, "step"], floor: float = 0.03) -> Float[np.ndarray, "step"]:
    """How far the behaviour's own rise has got by its fitted curve: log(share / floor), 0 below the floor, 1 at 10 %.

    The share is that of a sigmoid in log step. It is the target as if measured without noise, from 3 % of its rise on:
    known only afterwards, and used only to make the baseline stronger, so that an indicator does not lead by being the
    better thermometer of a rise that has begun. A lower floor would give the event away: of a rise of .8
    decades 1 % is done at T/3.
    """
    if np.isnan(event.centre):
        return np.zeros(len(step))
    logit = (np.log10(step) - event.centre) * 2 * np.log(9) / max(event.width, 1e-3)
    share = 0.5 * (1 + np.tanh(0.5 * logit))
    return np.log(np.maximum(share, floor) / floor) / np.log(0.1 / floor)
