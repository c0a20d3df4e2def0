"""Over families: what an indicator adds on average, whether one rule serves all of them, and whether what leads elsewhere
leads here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import binomtest

from experiments.study.boards import Judged, margin, own_foresight, share_seen
from experiments.study.pooling import agreement, random_effects
from interp.leads.alarms import Alarm, peaks, score
from interp.leads.baseline import USED, standardised
from interp.leads.evidence import Gains, series_gains
from interp.leads.features import FEATURES
from interp.leads.nulls import p_family
from interp.leads.panel import Panel
from interp.leads.spec import Spec
from interp.leads.splits import folds, pooled

SCALE_FREE = ("deviation", "memory")
"""Features whose threshold means the same in another family: a z against the run's own past, and an autocorrelation."""
DRAWS = 999  # of the agreement's null: a choice
SURE = 0.95  # share of planted leaders that must be seen where "not leading" is said, as for one family


def across(judged: Sequence[Judged], spec: Spec) -> dict[str, Any]:
    """Everything that is said over families of one part."""
    names = _shared_names(judged)
    own = [_by_name(each, names) for each in judged]
    rule = _one_rule(judged, names, spec)
    p = _p_over_families(judged, names)
    margins = [x for x in map(margin, judged) if np.isfinite(x)]
    level = float(np.mean(margins)) if margins else np.nan
    power = _power(judged, spec)
    rows = []
    for k, name in enumerate(names):
        row = {"indicator": name, **_average(own, k, spec, len(names)), "p_fwer": float(p[k]), **_warned(judged, name)}
        row |= {f"rule_{key}": value for key, value in rule.get(name, {}).items()}
        rows.append(row | _verdict(row, level, power))
    gain = np.array([[each[0][k] for k in range(len(names))] for each in own]).reshape(len(judged), len(names))
    rng = np.random.default_rng([spec.seed, 61])
    agree = agreement(gain, draws=DRAWS, rng=rng) if len(judged) > 2 and len(names) > 2 else None
    return {
        "indicators": sorted(rows, key=lambda row: (-np.nan_to_num(row["gain"], nan=-np.inf), row["indicator"])),
        "families": [each.family for each in judged], "margin": level, "power": power, "foresight": _foresight(judged, spec),
        "bound": max((row["bound"] for row in rows), default=np.nan) if names else np.nan,
        "agreement": None if agree is None else {
            "mean": agree.mean, "p": agree.p,
            "by_family": dict(zip([each.family for each in judged], agree.by_family, strict=True))},
    }  # fmt: skip


def _shared_names(judged: Sequence[Judged]) -> list[str]:
    """Indicators that at least two families have."""
    count: dict[str, int] = {}
    for each in judged:
        for index in each.panel.of("indicator"):
            series = each.panel.series[index]
            if not series.component and series.position is None:
                count[series.measure] = count.get(series.measure, 0) + 1
    return sorted(name for name, n in count.items() if n >= 2)


def _place(each: Judged) -> dict[str, int]:
    """Where an indicator stands among those of the family's gains."""
    series = [each.panel.series[index] for index in each.panel.of("indicator")]
    return {s.measure: k for k, s in enumerate(series) if not s.component and s.position is None}


def _by_name(each: Judged, names: Sequence[str]) -> np.ndarray:
    """gain, low and high [3, name]; NaN where the family has none."""
    at, out = _place(each), np.full((3, len(names)), np.nan)
    for k, name in enumerate(names):
        if name in at:
            out[:, k] = each.gains.gain[at[name]], each.gains.low[at[name]], each.gains.high[at[name]]
    return out


def _average(own: Sequence[np.ndarray], k: int, spec: Spec, n_names: int) -> dict[str, Any]:
    """The mean gain by random effects. Gains are skewed: the lower end comes from the lower halves of the families'
    intervals, the upper one from the upper halves. bound: the upper end at one-sided 5 % shared among all indicators."""
    gain, low, high = np.array([each[:, k] for each in own]).T
    z = ndtri(0.5 + spec.level / 2)
    below, above = random_effects(gain, (gain - low) / z), random_effects(gain, (high - gain) / z)
    return {
        "gain": below.mean, "gain_low": below.ends(spec.level)[0], "gain_high": above.ends(spec.level)[1],
        "tau": below.tau, "i2": below.i2, "n_families": below.n,
        "bound": above.ends(1 - 2 * (1 - spec.level) / n_names)[1],
    }  # fmt: skip


def _p_over_families(judged: Sequence[Judged], names: Sequence[str]) -> np.ndarray:
    """Family-wise p of the mean over families of gains in units of each family's own null (series exchanged between the runs
    of a setting, independently in every family); the maximum runs over all indicators."""
    drawn = [each for each in judged if each.gains.exchanged is not None]
    if not drawn or not names:
        return np.full(len(names), np.nan)
    seen, null = [], []
    for each in drawn:
        at, worlds = _place(each), each.gains.exchanged
        assert worlds is not None
        middle, spread = worlds.mean(axis=0), np.maximum(worlds.std(axis=0), 1e-12)
        z, z_null = (each.gains.gain - middle) / spread, (worlds - middle) / spread
        seen.append([z[at[name]] if name in at else np.nan for name in names])
        null.append([z_null[:, at[name]] if name in at else np.full(len(worlds), np.nan) for name in names])
    known = np.isfinite(np.array(seen)).sum(axis=0)
    observed = np.nansum(seen, axis=0) / np.sqrt(np.maximum(known, 1))
    worlds = (np.nansum(null, axis=0) / np.sqrt(np.maximum(known, 1))[:, None]).T
    return np.where(known > 0, p_family(observed, worlds, standardise=True), np.nan)


def _warned(judged: Sequence[Judged], name: str) -> dict[str, Any]:
    """Coverage and realised false-alarm rate over all families with thresholds of their own, at the first rate that each
    allows, with the interval of the share; the median lead; the cost."""
    rows = [
        row for each in judged for row in each.board.leaderboard if row["indicator"] == name and not row["component"]
    ]
    rows = [row for row in rows if np.isfinite(row["realised_far"])]
    found = [_rate_of(row) for row in rows]
    n, hit = sum(r["n_events"] for r in rows), sum(round(c * r["n_events"]) for c, r in zip(found, rows, strict=True))
    n_null = sum(row["n_null"] for row in rows)
    false = sum(round(row["realised_far"] * row["n_null"]) for row in rows)
    leads = [row["median_lead"] for row in rows if np.isfinite(row["median_lead"])]
    costs = [row["cost"] for row in rows if np.isfinite(row["cost"])]
    return {
        **_share("coverage", hit, n), **_share("false", false, n_null), "median_lead": float(np.median(leads)) if leads else np.nan,
        "rates": sorted({row["far"] for row in rows}), "cost": float(np.mean(costs)) if costs else np.nan,
    }  # fmt: skip


def _rate_of(row: dict[str, Any]) -> float:
    return float(row[f"coverage_at_far_{round(100 * row['far']):02d}"])


def _share(name: str, hit: int, n: int) -> dict[str, float]:
    """A share with its exact 95 % interval (Clopper and Pearson), runs taken as independent; NaN of none."""
    if not n:
        return {name: np.nan, f"{name}_low": np.nan, f"{name}_high": np.nan, f"{name}_n": 0}
    ends = binomtest(hit, n).proportion_ci()
    return {name: hit / n, f"{name}_low": float(ends.low), f"{name}_high": float(ends.high), f"{name}_n": n}


def _one_rule(judged: Sequence[Judged], names: Sequence[str], spec: Spec) -> dict[str, dict[str, Any]]:
    """One rule for all families, by indicator: what it adds when runs are held out (`gain` …), when the whole family is
    (`elsewhere` …), and how many jumps of a family are covered with feature, sign and threshold from the other families."""
    panel = pooled([_common(each) for each in judged])
    if panel is None:
        return {}
    index = panel.of("indicator")
    by_run = series_gains(panel, index, panel.of("baseline"), spec)
    by_family = series_gains(panel, index, panel.of("baseline"), spec, kind="task")
    p, p_elsewhere = _p(by_run), _p(by_family)
    alarms = _elsewhere(pooled([each.panel for each in judged]), spec)
    families = np.array([each.family for each in judged])
    out = {}
    for k, place in enumerate(index):
        name = panel.series[place].measure
        out[name] = {
            "gain": float(by_run.gain[k]), "gain_low": float(by_run.low[k]), "gain_high": float(by_run.high[k]),
            "p_fwer": float(p[k]), "elsewhere": float(by_family.gain[k]), "elsewhere_low": float(by_family.low[k]),
            "elsewhere_high": float(by_family.high[k]), "elsewhere_p_fwer": float(p_elsewhere[k]), "coverage": {
                f"{rate:.2f}": _covered(panel, found[name], families) for rate, found in alarms.items()},
        }  # fmt: skip
    return out


def _p(gains: Gains) -> np.ndarray:
    nothing = np.full(len(gains.gain), np.nan)
    return nothing if gains.exchanged is None else p_family(gains.gain, gains.exchanged, standardise=True)


def _common(each: Judged) -> Panel:
    """The family's panel with features in units of their own spread before the event, so that families compare."""
    panel = each.panel
    values = panel.values.copy()
    values[..., USED] = standardised(panel, range(len(panel.series)))
    return replace(panel, values=values)


def _elsewhere(panel: Panel | None, spec: Spec) -> dict[float, dict[str, Alarm]]:
    """Alarms with everything from the other families, at each rate, by indicator and baseline."""
    if panel is None:
        return {}
    found = peaks(panel, spec)
    free = np.isin(np.tile(FEATURES, 2), SCALE_FREE)
    for peak in (found.null, found.window):
        peak[:, :, ~free] = -np.inf
    by_family = folds(panel, "task", len(np.unique(panel.task_code)), spec.seed)
    names = [series.measure for series in panel.series]
    return {rate: dict(zip(names, score(panel, found, by_family, rate, spec), strict=True)) for rate in spec.rates}


def _covered(panel: Panel, alarm: Alarm, families: np.ndarray) -> dict[str, Any]:
    """Of one indicator at one rate: shares over all families, and coverage by family."""
    if not alarm.alarm_step:
        return {"reason": alarm.reason}
    step, T = np.array(alarm.alarm_step), panel.T
    hit = panel.event & (step >= T / np.sqrt(10)) & (step <= 0.9 * T)
    by_family = {str(name): float(hit[here].sum() / max(panel.event[here].sum(), 1)) if panel.event[here].any() else np.nan
                 for code, name in enumerate(families) for here in [panel.task_code == code]}  # fmt: skip
    false = round(alarm.realised * alarm.n_null)
    return {**_share("coverage", int(hit.sum()), alarm.n_events), **_share("false", false, alarm.n_null),
            "by_family": by_family, "rule": alarm.rule if hit.any() else ""}  # fmt: skip


def _power(judged: Sequence[Judged], spec: Spec) -> dict[str, Any]:
    """How many of the planted leaders (`interp.leads.evidence.plant`) are seen: in each family, and on average over them."""
    z = ndtri(0.5 + spec.level / 2)
    gain = np.array([each.planted.gain for each in judged if len(each.planted.gain)])
    low = np.array([each.planted.low for each in judged if len(each.planted.gain)])
    means = [random_effects(g, (g - b) / z) for g, b in zip(gain.T, low.T, strict=True)] if len(gain) else []
    ends = np.array([found.ends(spec.level)[0] for found in means])
    return {
        "over_families": share_seen(ends) if len(ends) else np.nan,
        "median_gain": float(np.median([found.mean for found in means])) if means else np.nan,
        "by_family": {each.family: share_seen(each.planted.low) for each in judged},
    }


def _foresight(judged: Sequence[Judged], spec: Spec) -> dict[str, Any]:
    """What the targets themselves add to step and setting, over families: the yardstick of every gain."""
    rows = [row for each in judged for row in each.board.baselines if row["indicator"] == each.panel.target]
    gain, low = (np.array([row[name] for row in rows], float) for name in ("gain", "gain_low"))
    found = random_effects(gain, (gain - low) / ndtri(0.5 + spec.level / 2))
    low_end, high_end = found.ends(spec.level)
    return {"mean": found.mean, "low": low_end, "high": high_end, "n_families": found.n,
            "by_family": {each.family: own_foresight(each) for each in judged}}  # fmt: skip


def _verdict(row: dict[str, Any], level: float, power: dict[str, Any]) -> dict[str, str]:
    """What may be said over families, as for one: `leading` needs the interval above 0, the family-wise p, and more jumps
    covered than runs falsely alarmed; `not leading` the interval below the margin, in runs that see planted leaders."""
    if not np.isfinite(row["gain_low"]):
        return {"verdict": "undetermined", "reason": f"{row['n_families']} families have a gain, 3 are needed"}
    above = row["coverage_low"] > max([row["false"], *row["rates"]])
    if row["gain_low"] > 0 and row["p_fwer"] <= 0.05 and above:
        return {"verdict": "leading", "reason": ""}
    if row["gain_high"] < level and power["over_families"] >= SURE:
        return {"verdict": "not leading", "reason": f"adds less than {level:.2g} bits a row"}
    told = [] if row["gain_low"] > 0 else ["its interval holds 0"]
    told += [] if row["p_fwer"] <= 0.05 else ["the series of other runs do as well"]
    told += [] if above else ["it does not cover more jumps than it gives false alarms"]
    told += ["it may add more than the margin"] if row["gain_high"] >= level else []
    return {"verdict": "undetermined", "reason": "; ".join(told)}
