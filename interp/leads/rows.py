"""The rows of the board: everything that is known about one series, in plain numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from interp.leads.alarms import Alarm, peaks, score
from interp.leads.baseline import standardised
from interp.leads.evidence import Gains, series_gains
from interp.leads.horizon import horizon_scores
from interp.leads.nulls import p_single
from interp.leads.panel import Panel
from interp.leads.spec import Spec
from interp.leads.splits import folds, groups
from interp.leads.survival import survival_scores
from interp.leads.timing import timing_scores
from interp.leads.verdict import EASIER, power_of, verdict

ROLE_ON_BOARD = {"indicator": "indicator", "hindsight": "hindsight", "baseline": "baseline", "clock": "baseline"}


def score_rows(
    panel: Panel, gains: Gains, family: tuple[np.ndarray, np.ndarray], across: Panel | None, spec: Spec
) -> tuple[list[tuple[str, dict[str, Any]]], list[dict[str, Any]]]:
    """The rows of one task with the list each belongs to, and the lead of every run and series.

    gains, family: gain, and standardised and raw family-wise p, of the panel's indicators in their order.
    """
    fold_of = folds(panel, "run", spec.folds, spec.seed)
    found = peaks(panel, spec)
    alarms = {rate: score(panel, found, fold_of, rate, spec) for rate in spec.rates}
    values = standardised(panel, range(len(panel.series))).astype(float)
    horizons = horizon_scores(panel, values, fold_of, spec)
    survivals = survival_scores(panel, values, fold_of, spec)
    timings = timing_scores(panel, values, fold_of, spec)
    gain_of = _gain_columns(panel, gains, family, spec)
    split_of = _split_columns(panel, across, spec)
    half_of = _midpoint_columns(panel, spec)
    power = power_of(panel, _foresight(panel, gain_of), spec) if panel.of("indicator") else None
    rows, leads = [], []
    for index, series in enumerate(panel.series):
        own = {rate: alarms[rate][index] for rate in spec.rates}
        row: dict[str, Any] = {"indicator": series.measure, "task": panel.task, "target": panel.target,
               "component": series.component, "position": series.position, "leading": None, "reason": "",
               "verdict": "undetermined", "runs_needed": None}  # fmt: skip
        horizon, survival = horizons[index], survivals[index]
        row |= {
            "auroc": horizon.auroc,
            "auprc": horizon.auprc,
            "brier": horizon.brier,
            "prevalence": horizon.prevalence,
        }
        row |= _alarm_columns(own) | {"far_shuffled": _far_shuffled(panel, decisive(own), spec)}
        row |= {"concordance": survival.harrell, "concordance_uno": survival.uno, "concordance_within": survival.within}
        row |= gain_of[index]
        row |= half_of.get(index, {})
        row |= {"cost": series.cost, "n_runs": len(panel.runs), "n_events": int(panel.event.sum())}
        row |= {"n_censored": int((~panel.event).sum())}
        row["timing"] = [_plain(timing) for timing in timings[index]]
        row["splits"] = split_of.get(index, {})
        if not np.isfinite(panel.values[index]).any():
            row["reason"] = "no finite value in these runs"
        elif series.role == "indicator" and power is not None:
            row |= verdict(panel, row, decisive(own), gains, panel.of("indicator").index(index), power, spec)
            row["reason"] += f"; {EASIER}" if series.easier else ""
        rows.append((ROLE_ON_BOARD[series.role], row))
        leads += _per_run(panel, row, decisive(own))
    return rows, leads


def decisive(alarms: dict[float, Alarm]) -> Alarm:
    """The alarm at the first rate that the runs allow; where they allow none, the first."""
    return next((alarm for alarm in alarms.values() if np.isfinite(alarm.coverage)), next(iter(alarms.values())))


def _alarm_columns(alarms: dict[float, Alarm]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for rate, alarm in alarms.items():
        name = f"{round(100 * rate):02d}"
        out |= {f"coverage_at_far_{name}": alarm.coverage, f"realised_far_{name}": alarm.realised}
        out |= {f"far_{name}_reason": alarm.reason}
    chosen = decisive(alarms)
    out |= {"realised_far": chosen.realised, "far": chosen.rate, "rule": chosen.rule, "n_null": chosen.n_null}
    out["median_lead"] = float(np.median(chosen.leads)) if chosen.leads else np.nan
    return out


def _far_shuffled(panel: Panel, alarm: Alarm, spec: Spec) -> float:
    """Share of the runs trained on shuffled labels that alarm at any time: they have nothing to warn of."""
    asked = np.isin(np.array(panel.settings)[panel.setting], spec.shuffled)
    return float(np.isfinite(np.array(alarm.alarm_step)[asked]).mean()) if alarm.alarm_step and asked.any() else np.nan


def _gain_columns(
    panel: Panel, gains: Gains, family: tuple[np.ndarray, np.ndarray], spec: Spec
) -> dict[int, dict[str, Any]]:
    """Gain of every series: over all trivial ones, and of the trivial ones over step and setting."""
    trivial = panel.of("baseline")
    alone = np.full(len(panel.series), np.nan)
    out: dict[int, dict[str, Any]] = {}
    for role, own in (
        ("indicator", gains),
        ("hindsight", series_gains(panel, panel.of("hindsight"), trivial, spec, nulls=False)),
        ("baseline", series_gains(panel, trivial, [], spec, nulls=False)),
        ("clock", None),
    ):
        for k, index in enumerate(panel.of(role)):
            three = (own.gain[k], own.low[k], own.high[k]) if own else (alone[k],) * 3
            p = (family[0][k], family[1][k]) if role == "indicator" else (np.nan, np.nan)
            shift = _p_shift(own, k) if role == "indicator" and own else np.nan
            keys = ("gain", "gain_low", "gain_high", "p_fwer", "p_fwer_raw", "p_shift")
            out[index] = dict(zip(keys, map(float, (*three, *p, shift)), strict=True))
    return out


def _foresight(panel: Panel, gain_of: dict[int, dict[str, Any]]) -> float:
    """The target's own gain over step and setting."""
    own = [k for k, s in enumerate(panel.series) if (s.measure, s.component, s.position) == (panel.target, "", None)]
    return float(gain_of[own[0]]["gain"]) if own else np.nan


def _p_shift(gains: Gains, k: int) -> float:
    return np.nan if gains.shifted is None else float(p_single(gains.gain, gains.shifted)[k])


def _midpoint_columns(panel: Panel, spec: Spec) -> dict[int, dict[str, Any]]:
    """The sensitivity analysis: gain and coverage of the indicators with the half-way point of the jump as T."""
    half, series = replace(panel, T=panel.middle), panel.of("indicator")
    gains = series_gains(half, series, panel.of("baseline"), spec, nulls=False)
    alarms = _coverages(half, "run", spec)
    return {
        index: {
            "gain_midpoint": float(gains.gain[k]),
            "gain_low_midpoint": float(gains.low[k]),
            "coverage_midpoint": alarms[index],
        }
        for k, index in enumerate(series)
    }


def _coverages(panel: Panel, kind: str, spec: Spec) -> list[float]:
    """Coverage of every series at the first rate that the runs allow, thresholds from the other groups of `kind`."""
    found, fold_of = peaks(panel, spec), folds(panel, kind, spec.folds, spec.seed)
    by_rate = {rate: score(panel, found, fold_of, rate, spec) for rate in spec.rates}
    return [decisive({rate: by_rate[rate][k] for rate in spec.rates}).coverage for k in range(len(panel.series))]


def _split_columns(panel: Panel, across: Panel | None, spec: Spec) -> dict[int, dict[str, Any]]:
    """Gain and coverage of the indicators with whole settings, sizes or tasks held out, where there are two."""
    out: dict[int, dict[str, Any]] = {index: {} for index in panel.of("indicator")}
    index_of = {_identity(panel, index): index for index in out}
    for kind, where in (("setting", panel), ("size", panel), ("task", across)):
        if where is None or len(np.unique(groups(where, kind))) < 2:
            continue
        series = where.of("indicator")
        gains = series_gains(where, series, where.of("baseline"), spec, kind=kind, nulls=False)
        coverages = _coverages(where, kind, spec)
        for k, index in enumerate(series):
            if _identity(where, index) in index_of:
                scores = {
                    "gain": gains.gain[k],
                    "gain_low": gains.low[k],
                    "gain_high": gains.high[k],
                    "coverage": coverages[index],
                }
                out[index_of[_identity(where, index)]][kind] = {name: float(x) for name, x in scores.items()}
    return out


def _identity(panel: Panel, index: int) -> tuple[str, str, int | None]:
    series = panel.series[index]
    return series.measure, series.component, series.position


def _per_run(panel: Panel, row: dict[str, Any], alarm: Alarm) -> list[dict[str, Any]]:
    """Alarm and lead of every run at the rate that decides; T is NaN where the run is censored."""
    if not alarm.alarm_step:
        return []
    about = {name: row[name] for name in ("indicator", "task", "component", "position")}
    T = np.where(panel.event, panel.T, np.nan)
    return [
        about | {"run": run, "T": float(T[k]), "budget": float(panel.budget[k]), "alarm": float(alarm.alarm_step[k]),
                 "lead": float(1 - alarm.alarm_step[k] / T[k])}
        for k, run in enumerate(panel.runs)
    ]  # fmt: skip


def _plain(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}
