"""From a detector's verdict to records: steps, values, and the figures that describe the whole curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from interp.jumps.about.breakthroughness import shapes
from interp.jumps.about.forms import best_model, compare_models
from interp.jumps.curve import Curve, select, standardise
from interp.jumps.detectors._long import chosen
from interp.jumps.instrument import INSTRUMENT
from interp.jumps.record import Jump
from interp.jumps.verdict import Rise, Verdict

_PLACES = (
    *("step_before", "step_after", "midpoint", "midpoint_low", "midpoint_high", "width_decades"),
    *("width_low", "width_high", "resolvable_decades"),
    *("magnitude", "value_before", "value_after", "reason"),
)
_FIGURES = {"": "value", "_scaled": "scaled", "_p": "p_value", "_low": "low", "_high": "high"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """A curve with its key (run, task, measure, component, position), what the table says about its run, and
    the verdict."""

    key: tuple[str, ...]
    curve: Curve
    facts: Mapping[str, Any]
    verdict: Verdict


def describe(curve: Curve, verdict: Verdict, facts: Mapping[str, Any], *, models: bool = True) -> list[Jump]:
    """The records of a judged curve: one a change or spike, or one that says that there is none.

    models: whether to compare models, which costs more than the verdict.
    """
    common = {**facts, "n": len(curve), "scale": curve.scale, "range_decades": _range(curve), "span": curve.span}
    for figure, shape in zip(
        ("breakthroughness", "linearity"), shapes(standardise(curve)[0].y, verdict.rho), strict=True
    ):
        common |= {figure + end: getattr(shape, name) for end, name in _FIGURES.items()}
    if verdict.reason is not None:
        return [Jump(**common, kind="undetermined", reason=verdict.reason)]
    if models:
        bic = compare_models(standardise(_without_spikes(curve, verdict))[0], verdict.rho)
        common["model"], common["model_margin"] = best_model(bic)
    if not verdict.rises:
        return [Jump(**common, kind="none", p_value=verdict.p_value)]
    return [_jump(curve, rise, common) for rise in verdict.rises]


def as_none(jump: Jump) -> Jump:
    """A record as that of a curve without a jump."""
    blank: dict[str, Any] = dict.fromkeys(_PLACES)
    return replace(jump, kind="none", left_censored=False, **blank)


def _jump(curve: Curve, rise: Rise, common: Mapping[str, Any]) -> Jump:
    place = int(np.clip(np.searchsorted(curve.x, rise.midpoint), 1, len(curve) - 1))
    before, after = rise.value_before, rise.value_after
    if np.isnan(before) or np.isnan(after):
        before, after = float(curve.y[rise.before]), float(curve.y[rise.before]) + rise.magnitude
    return Jump(
        **common,
        kind=rise.kind,
        step_before=float(curve.steps[rise.before]),
        step_after=float(curve.steps[rise.after]),
        midpoint=10**rise.midpoint,
        midpoint_low=10**rise.low,
        midpoint_high=10**rise.high,
        width_decades=rise.width,
        width_low=rise.width_low,
        width_high=rise.width_high,
        resolvable_decades=float(curve.x[place] - curve.x[place - 1]),
        left_censored=rise.left_censored,
        magnitude=rise.magnitude,
        value_before=_value(curve, before),
        value_after=_value(curve, after),
        p_value=rise.p_value,
        reason=rise.reason,
    )


def _range(curve: Curve) -> float:
    return float(curve.x[-1] - curve.x[0]) if len(curve) else float("nan")


def _value(curve: Curve, value: float) -> float:
    return float(np.exp(value)) if curve.scale == "ln" else value


def _without_spikes(curve: Curve, verdict: Verdict) -> Curve:
    """Its checkpoints but for the spikes; of a long curve some."""
    inside = np.zeros(len(curve), bool)
    for rise in verdict.rises:
        if rise.kind == "spike":
            inside[rise.before + 1 : rise.after] = True
    left = np.flatnonzero(~inside)
    return select(curve, left[chosen(curve.x[left], INSTRUMENT.long)] if len(left) > INSTRUMENT.long else left)
