"""Three verdicts and their words, the number of runs that would decide, easier items, and the chance of a straggler."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_leads_parts import panel

from interp.leads import Spec
from interp.leads.alarms import Alarm
from interp.leads.evidence import Gains, plant
from interp.leads.nulls import least_more, too_few
from interp.leads.panel import easier_items
from interp.leads.run_forecast import bare_chance
from interp.leads.verdict import MISSED, Power, simulated_need, verdict

STEP = np.geomspace(10, 1000, 25).round().tolist()
RUNS = panel([100.0 + 5 * k for k in range(12)] + [np.inf] * 12, [1000.0] * 24, STEP)
ALARM = Alarm(rate=0.05, coverage=0.9, realised=0.04, n_events=12, n_null=20, rule="", leads=(), alarm_step=())


def told(
    low: float, high: float, p: float = 0.01, missed: float = 0.0, alarm: Alarm = ALARM, n_events: int = 30
) -> dict:
    rng, gain = np.random.default_rng(0), (low + high) / 2
    gains = Gains(
        gain=np.array([gain]), low=np.array([low]), high=np.array([high]), n_rows=np.full(24, 10.0),
        by_run=10 * (gain + 0.05 * rng.standard_normal((1, 24))), exchanged=0.01 * rng.standard_normal((99, 1)),
    )  # fmt: skip
    row = {"gain": gain, "gain_low": low, "gain_high": high, "p_fwer": p}
    power = Power(margin=0.02, missed=missed, n_runs=24 if missed <= MISSED else 90, n_events=n_events)
    return verdict(RUNS, row, alarm, gains, 0, power, Spec())


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-0.2, 0.2), st.floats(0.001, 0.2), st.sampled_from([0.01, 0.2, np.nan]), st.sampled_from([0.0, 0.4, np.nan]),
    st.sampled_from([0.9, 0.02, np.nan]),
)  # fmt: skip
def test_each_verdict_is_given_exactly_where_its_evidence_is(
    low: float, width: float, p: float, missed: float, coverage: float
) -> None:
    found = told(low, low + width, p, missed, replace(ALARM, coverage=coverage, reason="no run jumps"))
    leads = low > 0 and p <= 0.05 and coverage > 0.05
    dull = not leads and low + width < 0.02 and missed <= MISSED
    assert found["leading"] is (True if leads else False if dull else None)
    assert found["verdict"] == ("leading" if leads else "not leading" if dull else "undetermined")
    assert found["reason"]
    assert "  " not in found["reason"]
    assert (found["runs_needed"] is None) == (leads or dull)
    if not (leads or dull):
        assert found["runs_needed"] > 24
        assert str(found["runs_needed"]) in found["reason"]


def test_runs_that_would_miss_leaders_never_say_not_leading() -> None:
    blind = told(-0.007, 0.0068, p=0.4, missed=0.35)
    assert (blind["verdict"], blind["runs_needed"]) == ("undetermined", 90)
    assert "miss 35% of planted leaders" in blind["reason"]
    assert told(-0.007, 0.0068, p=0.4)["verdict"] == "not leading"
    few = told(-0.007, 0.0068, p=0.4, n_events=12)
    assert few["verdict"] == "undetermined"
    assert "12 events are too few" in few["reason"]


def test_a_table_without_events_or_exchanges_is_undetermined() -> None:
    alone = replace(RUNS, setting=np.arange(24), settings=tuple(map(str, range(24))))
    gains = Gains(gain=np.full(1, np.nan), low=np.full(1, np.nan), high=np.full(1, np.nan), reason="few")
    row = dict.fromkeys(("gain", "gain_low", "gain_high", "p_fwer"), np.nan)
    none = verdict(alone, row, ALARM, gains, 0, Power(margin=0.02, missed=np.nan, n_runs=None), Spec())
    assert (none["verdict"], none["runs_needed"], none["reason"]) == ("undetermined", None, "few")
    few = verdict(alone, row, ALARM, gains, 0, Power(margin=0.02, missed=0.0, n_runs=24), Spec())
    assert few["runs_needed"] == 24 + least_more(alone.setting)
    assert least_more(np.array([0, 0, 0, 0])) == 0
    assert too_few(np.array([0, 0, 0, 1]))
    assert least_more(np.array([0, 0, 0, 1])) == 1


def test_the_number_of_runs_falls_with_the_gain_and_grows_with_the_spread() -> None:
    rng, rows = np.random.default_rng(0), np.full(40, 10.0)
    noise = rng.standard_normal(40)
    noise -= noise.mean()

    def need(gain: float, spread: float) -> int:
        ends = (gain, gain - 2 * spread / np.sqrt(40), gain + 2 * spread / np.sqrt(40))
        return simulated_need(10 * (gain + spread * noise), rows, ends, 0.0, 0.02, Spec())

    assert need(0.05, 0.3) <= need(0.03, 0.3)
    assert need(0.05, 0.1) <= need(0.05, 0.3) <= need(0.05, 0.6)
    # z(.975) + z(.8) standard errors of the mean above 0: the textbook's 2.8² spread² / gain²
    assert need(0.05, 0.4) == pytest.approx(2.8**2 * 0.4**2 / 0.05**2, rel=0.35)


def test_planted_leaders_move_before_the_event_and_know_nothing_of_other_runs() -> None:
    rich = plant(RUNS, np.random.default_rng(0), 30)
    level = rich.values[-30:, :12, :, 0]
    before = np.array(STEP)[None, :] < 0.25 * RUNS.T[:12, None]
    after = np.array(STEP)[None, :] >= RUNS.T[:12, None]
    assert abs(level[:, before].mean()) < 0.1
    assert level[:, after].mean() == pytest.approx(1, abs=0.1)
    assert {series.role for series in rich.series} == {"indicator"}


def final(value: list[float], n: float, measure: str = "accuracy") -> pd.DataFrame:
    rows = [
        (f"r{k}", step, measure, x * step / 4, n, np.nan)
        for k, x in enumerate(value)
        for step in (0, 1, 2, 3, 4, 4.1, 4.2)
    ]
    frame = pd.DataFrame(rows, columns=["run", "step", "measure", "value", "n", "stderr"])
    return frame.assign(value=frame["value"].clip(upper=1))


def test_easier_items_of_the_target_are_known_by_n_range_and_final_level() -> None:
    target = final([0.9, 0.95, 1, 0.92, 0.97] * 2, 200)
    assert easier_items(final([0.91, 0.94, 1, 0.93, 0.98] * 2, 200, "soft"), target)
    assert not easier_items(final([0.91, 0.94, 1, 0.93, 0.98] * 2, 100, "soft"), target), "other n"
    assert not easier_items(final([0.91, 0.94, 1, 0.93, 0.98] * 2, np.nan, "soft"), target), "no n"
    assert not easier_items(final([0.5, 0.6, 0.5, 0.6, 0.5] * 2, 200, "soft"), target), "another final level"
    wide = final([0.91, 0.94, 1, 0.93, 0.98] * 2, 200, "soft")
    assert not easier_items(wide.assign(value=3 * wide["value"]), target), "another range"
    flat = wide.assign(value=0.95)
    assert not easier_items(flat, target), "a constant covers no range"


@given(st.floats(0.0, 3.0))
def test_the_later_the_straggler_the_lower_its_chance(late: float) -> None:
    T = [float(x) for x in np.geomspace(100, 400, 20)] + [np.inf] * 3
    known = panel(T, [10_000.0] * 23, STEP)
    now = 500 * 10**late
    p, later = (bare_chance(known, 22, x, 2 * x) for x in (now, 2 * now))
    assert 0 <= later <= p < 0.5
    assert bare_chance(known, 22, now, 8 * now) >= p
    assert bare_chance(known, 22, 50.0, 10_000.0) > 0.8, "before all others, most are still to jump"


def test_without_any_jump_the_chance_is_that_of_the_rule_of_succession() -> None:
    assert bare_chance(panel([np.inf] * 5, [100.0] * 5, STEP), 0, 50.0, 100.0) == pytest.approx(0.5 / 5)
