"""Leading, not leading, or undetermined: what the evidence allows to say of an indicator, in plain words, and how many
runs would decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from interp.leads.alarms import Alarm
from interp.leads.evidence import N_PLANTED, Gains, planted_gains
from interp.leads.nulls import least_more, too_few
from interp.leads.panel import Panel
from interp.leads.spec import Spec

LEAST_SHOWN = (
    20  # events below which "not leading" is never said: of faint true leaders at 10-16 events, 3 of 48 looked dull
)
MISSED = 0.05  # the largest share of planted leaders that may look worthless where "not leading" is said (a choice)
DECIDES = 0.8  # of simulated tables reach a verdict at `runs_needed` (the usual power)
MOST_TIMES = 32.0  # as many runs as there are: farther is not simulated
MOST_RUNS = 300  # planted leaders are not simulated in more, unless the table has them
EASIER = "easier items of the target"


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What these runs can tell. margin: bits a row that a gain must be worth. missed: share of planted leaders whose
    gain's interval lies below it. n_runs: how many runs like these miss at most MISSED of them, or, where `beyond`, how
    many do not yet; None without any event."""

    margin: float
    missed: float
    n_runs: int | None
    n_events: int = LEAST_SHOWN
    beyond: bool = False


def power_of(panel: Panel, foresight: float, spec: Spec) -> Power:
    """foresight: gain of the target itself over step and setting, NaN where it is not defined."""
    margin = max(spec.margin, spec.margin_share * foresight) if np.isfinite(foresight) else spec.margin
    n, events, factor, first = len(panel.runs), int(panel.event.sum()), 1.0, np.nan
    while panel.event.any() and factor <= MOST_TIMES and n * factor <= max(n, MOST_RUNS):
        found = planted_gains(panel, spec, factor)
        missed = np.nan if found.reason else float((found.high < margin).mean())
        first = missed if factor == 1 else first
        if missed <= MISSED and events * factor >= LEAST_SHOWN:
            return Power(margin=margin, missed=first, n_runs=int(np.ceil(n * factor)), n_events=events)
        factor *= 1.5
    tried = int(n * factor / 1.5) if panel.event.any() else None
    return Power(margin=margin, missed=first, n_runs=tried, n_events=events, beyond=tried is not None)


def verdict(
    panel: Panel, row: Mapping[str, Any], alarm: Alarm, gains: Gains, k: int, power: Power, spec: Spec
) -> dict[str, Any]:
    """`leading` (true, false, null), `verdict`, `reason` and `runs_needed` of the k-th indicator of a panel.

    Leading: the gain's interval lies above 0, the family-wise p is at most .05, coverage is above the false-alarm rate.
    Not leading: the interval lies below the margin, in runs that would miss few planted leaders. Else undetermined.
    """
    above = alarm.coverage > max(alarm.rate, alarm.realised)
    if row["gain_low"] > 0 and row["p_fwer"] <= 0.05 and above:
        return _said(
            True, f"adds {_bits(row['gain'])} to the baseline ({_between(row)}), more than the series of other runs do "
            f"(p {row['p_fwer']:.2g}), and warns of {alarm.coverage:.0%} of the jumps at a false-alarm rate of "
            f"{alarm.realised:.0%}",
        )  # fmt: skip
    few = gains.reason or too_few(panel.setting) or ""
    if not few and row["gain_high"] < power.margin and power.missed <= MISSED and power.n_events >= LEAST_SHOWN:
        seen = round((1 - power.missed) * N_PLANTED)
        return _said(
            False, f"adds less than the margin of {power.margin:.2g} bits a row to the baseline ({_between(row)}), and "
            f"{seen} of {N_PLANTED} planted leaders are seen in these runs",
        )  # fmt: skip
    needed = _needed(panel, gains, k, power, spec)
    reason = few or "; ".join(_missing(row, alarm, above, power))
    if needed is not None:
        reason += f"; {'more than' if power.beyond else 'about'} {needed} runs like these would decide"
    return _said(None, reason, needed)


def _said(leading: bool | None, reason: str, needed: int | None = None) -> dict[str, Any]:
    word = {True: "leading", False: "not leading", None: "undetermined"}[leading]
    return {"leading": leading, "verdict": word, "reason": reason, "runs_needed": needed}


def _missing(row: Mapping[str, Any], alarm: Alarm, above: bool, power: Power) -> list[str]:
    """What keeps it from being called leading, and what from being called not leading."""
    told = []
    if not row["gain_low"] > 0:
        told.append(f"adds nothing to the baseline for sure ({_between(row)})")
    if not np.isfinite(row["p_fwer"]):
        told.append("no exchanges were asked for, so there is no family-wise p")
    elif row["p_fwer"] > 0.05:
        told.append(f"the series of other runs do as well (p {row['p_fwer']:.2g})")
    if not np.isfinite(alarm.coverage):
        told.append(alarm.reason)
    elif not above:
        told.append(f"warns of {alarm.coverage:.0%} of the jumps, not above its false-alarm rate")
    if row["gain_high"] >= power.margin:
        told.append(f"but may add more than the margin of {power.margin:.2g}")
    elif not power.missed <= MISSED:
        share = "all" if not np.isfinite(power.missed) else f"{power.missed:.0%}"
        told.append(f"but these runs would miss {share} of planted leaders")
    elif power.n_events < LEAST_SHOWN:
        told.append(f"but {power.n_events} events are too few to show that it adds nothing ({LEAST_SHOWN} are needed)")
    return told


def _needed(panel: Panel, gains: Gains, k: int, power: Power, spec: Spec) -> int | None:
    """How many runs would decide: enough to see a planted leader, to exchange series, and for a verdict on this gain in
    DECIDES of simulated tables; the largest number tried where none of them is enough; None without any event."""
    if power.n_runs is None:
        return None
    n = len(panel.runs)
    least = [n + 1, power.n_runs, n + least_more(panel.setting)]
    if gains.by_run is not None and gains.n_rows is not None:
        null = None if gains.exchanged is None else gains.exchanged
        ends = gains.gain[k], gains.low[k], gains.high[k]
        least.append(simulated_need(gains.by_run[k], gains.n_rows, ends, _bar(null, k), power.margin, spec))
    return max(least)


def _bar(exchanged: Float[np.ndarray, "draw series"] | None, k: int) -> float:
    """The gain whose family-wise p is .05, in bits a row of this series."""
    if exchanged is None:
        return 0.0
    spread = np.maximum(exchanged.std(axis=0), 1e-12)
    top = ((exchanged - exchanged.mean(axis=0)) / spread).max(axis=1)
    return float(exchanged[:, k].mean() + np.quantile(top, 0.95) * spread[k])


def simulated_need(
    by_run: Float[np.ndarray, "run"],
    n_rows: Float[np.ndarray, "run"],
    ends: tuple[float, float, float],
    bar: float,
    margin: float,
    spec: Spec,
    draws: int = 200,
) -> int:
    """The least number of runs at which DECIDES of the tables made of them are decided, of a geometric row of numbers.

    A table of m runs draws them again from these, with their gains; its interval and the gain that the family-wise null
    asks for are those of these runs, narrower by √(n/m).
    """
    rng = np.random.default_rng([spec.seed, 37])
    has = n_rows > 0
    total, rows, n = by_run[has], n_rows[has], len(by_run)
    gain, low, high = ends
    m = float(n)
    while m < n * MOST_TIMES:
        m *= 1.25
        drawn = rng.multinomial(round(m * has.mean()), np.full(len(rows), 1 / len(rows)), size=draws).astype(float)
        mean, shrink = (drawn @ total) / (drawn @ rows), np.sqrt(n / m)
        leads = (mean - shrink * (gain - low) > 0) & (mean > shrink * bar)
        if (leads | (mean + shrink * (high - gain) < margin)).mean() >= DECIDES:
            break
    return int(np.ceil(m))


def _bits(gain: float) -> str:
    return f"{gain:.2g} bits a row"


def _between(row: Mapping[str, Any]) -> str:
    return f"{row['gain_low']:.2g} to {row['gain_high']:.2g} bits a row"
