"""Effects of interventions: planted shifts of log T are found, none are not, and censored pairs stay what they are, bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulate_leads import grid, rise

import interp
from interp.leads.pairs import contrast, estimate, interval, side, slope_of

BUDGET = 10_000


def planted(
    shifts: Mapping[str, float],
    *,
    n_seeds: int = 8,
    between: float = 0.15,
    within: float = 0.04,
    seed: int = 0,
    family: str = "sim",
    centre: float = 1000,
) -> pd.DataFrame:
    """Runs whose event comes at centre · 10^(seed's own + setting's shift + noise); a setting with shift inf never jumps."""
    rng, at, rows = np.random.default_rng(seed), grid(BUDGET, 70), []
    of_seed = between * rng.standard_normal(n_seeds)
    for setting, shift in shifts.items():
        for index in range(n_seeds):
            when = centre * 10 ** (of_seed[index] + shift + within * rng.standard_normal())
            value = 0.02 * np.ones(len(at)) if np.isinf(shift) else rise(at, when, 0.2)
            rows.append(
                pd.DataFrame(
                    {
                        "run": f"{family}:d8/{setting}/seed{index}", "step": at, "task": "skill", "measure": "accuracy",
                        "value": np.clip(value + 0.005 * rng.standard_normal(len(at)), 0, 1), "family": family,
                        "size": "d8", "setting": f"d8/{setting}", "seed": index, "budget": BUDGET, "kind": "behaviour",
                    }
                )
            )  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def row_of(found: Any, setting: str) -> dict[str, Any]:
    return next(row for row in found.effects if row["setting"] == setting)


def runs_of(T: Any, C: float = 1e4, grain: float = 0.0, seeds: Any = None) -> pd.DataFrame:
    T = np.asarray(T, float)
    seeds = np.arange(len(T)) if seeds is None else seeds
    return pd.DataFrame({"family": "f", "size": "s", "seed": seeds, "T": T, "C": C, "grain": grain})


def test_planted_shifts_are_found_and_told_from_the_placebo() -> None:
    shifts = {"base": 0.0, "clamp=0.25": -0.15, "clamp=0.5": -0.3, "clamp=1": -0.6, "clamp.placebo=1": 0.0, "odd": 0.3}
    found = interp.intervention_effects(planted(shifts, within=0.03))
    assert [row["setting"] for row in found.effects] == [
        "clamp=0.25", "clamp=0.5", "clamp=1", "clamp.placebo=1", "odd",
    ]  # fmt: skip
    for setting, shift in shifts.items():
        if setting == "base":
            continue
        row = row_of(found, setting)
        assert row["n"] == row["n_pairs"] == 8
        assert row["low"] - 0.02 < shift < row["high"] + 0.02
        assert row["effect"] == pytest.approx(shift, abs=0.08)
        assert row["median_low"] == row["median_high"]
        assert row["effect"] == pytest.approx(row["at_budget"])
        if shift:
            assert row["verdict"] == ("earlier" if shift < 0 else "later")
    strong = row_of(found, "clamp=1")
    assert strong["vs_placebo"] == "clamp.placebo=1"
    assert strong["vs_low"] < -0.6 + 0.06
    assert strong["vs_high"] < -0.4
    assert row_of(found, "odd")["vs_placebo"] == ""
    assert [row["name"] for row in found.slopes] == ["clamp"]
    assert found.slopes[0]["low"] < -0.6 < found.slopes[0]["high"]


def test_what_the_placebo_does_as_well_is_no_effect() -> None:
    found = interp.intervention_effects(planted({"base": 0.0, "forbid=1": 0.3, "forbid.placebo=1": 0.3}))
    row = row_of(found, "forbid=1")
    assert row["low"] > 0
    assert row["verdict"] == "undetermined"
    assert "not told apart from the placebo" in row["reason"]


def test_an_intervention_that_stops_the_event_is_later_by_its_bounds() -> None:
    found = interp.intervention_effects(planted({"base": 0.0, "forbid=1": np.inf, "forbid.placebo=1": 0.0}))
    row = row_of(found, "forbid=1")
    assert (row["n"], row["n_stopped"], row["later"]) == (0, 8, 8)
    assert np.isnan(row["effect"])
    assert row["median_high"] == np.inf
    assert row["median_low"] == pytest.approx(1, abs=0.3)  # a budget of 10⁴, events near 10³
    assert row["at_budget"] == pytest.approx(1, abs=0.3)
    assert row["verdict"] == "later"
    assert row["p"] == pytest.approx(2 / 2**8)


def test_bounds_of_censored_pairs_in_closed_form() -> None:
    under, without = runs_of([100, np.inf, 100, np.inf, 1000]), runs_of([1000, 100, np.inf, np.inf, 1000])
    pairs = contrast(under, without)
    np.testing.assert_allclose(pairs["low"], [-1, 2, -np.inf, -np.inf, 0])
    np.testing.assert_allclose(pairs["high"], [-1, np.inf, -2, np.inf, 0])
    np.testing.assert_allclose(pairs["at_budget"], [-1, 2, -2, 0, 0])
    found = estimate(pairs, level=0.95, draws=100, rng=np.random.default_rng(0))
    assert (found["n_pairs"], found["n"], found["n_stopped"], found["n_started"], found["n_neither"]) == (5, 2, 1, 1, 1)
    assert found["effect"] == -0.5
    assert (found["earlier"], found["later"]) == (2, 1)
    assert (found["median_low"], found["median_high"]) == (-1, 0)
    assert np.isnan(found["low"])  # two pairs have no interval


def test_what_has_no_partner_is_in_no_pair() -> None:
    pairs = contrast(runs_of([10, 20], seeds=[1, 2]), runs_of([10, 20], seeds=[2, 3]))
    assert list(pairs["seed"]) == [2]
    assert pairs["low"].item() == pytest.approx(np.log10(2))


def test_the_bounds_hold_whatever_the_censored_events_are() -> None:
    """Events past the budget are hidden; the true median and mean lie where the numbers say."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        true = 10 ** rng.uniform(2, 5, size=(2, 7))
        seen = np.where(true < 1e4, true, np.inf)
        found = estimate(contrast(runs_of(seen[0]), runs_of(seen[1])), level=0.95, draws=1, rng=rng)
        shift = np.log10(true[0] / true[1])
        assert found["median_low"] <= np.median(shift) + 1e-9
        assert np.median(shift) <= found["median_high"] + 1e-9
        if found["n_started"] + found["n_neither"] == 0:
            assert found["at_budget"] <= shift.mean() + 1e-9
        if found["n_stopped"] + found["n_neither"] == 0:
            assert found["at_budget"] >= shift.mean() - 1e-9


@pytest.mark.parametrize("n", [5, 8, 16])
@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy tails"])
def test_no_effect_is_found_as_often_as_the_level_says(n: int, heavy: bool) -> None:
    rng, wrong, times = np.random.default_rng(n), 0, 600
    for _ in range(times):
        noise = rng.standard_t(4, size=n) if heavy else rng.standard_normal(n)
        low, high = interval(0.1 * noise, np.zeros(n), level=0.95, draws=400, rng=rng)
        wrong += not low <= 0 <= high
    assert wrong / times < 0.085  # .05 and three standard errors of 600 trials


def test_the_sign_test_finds_no_effect_at_most_as_often() -> None:
    rng, wrong, times = np.random.default_rng(0), 0, 200
    for _ in range(times):
        true = 10 ** rng.normal(4, 0.5, size=(2, 10))  # half of all events are past the budget
        seen = np.where(true < 1e4, true, np.inf)
        row = estimate(contrast(runs_of(seen[0]), runs_of(seen[1])), level=0.95, draws=1, rng=rng)
        wrong += bool(row["n_stopped"] + row["n_started"]) and side(row, level=0.95) != 0
    assert wrong / times <= 0.06


def test_a_whole_table_without_an_effect() -> None:
    found = interp.intervention_effects(planted({"base": 0, **{f"a{k}=1": 0 for k in range(6)}}, n_seeds=6))
    assert sum(row["verdict"] != "undetermined" for row in found.effects) <= 1


def test_pairs_that_agree_to_a_checkpoint_are_as_uncertain_as_the_grid() -> None:
    rng, grain = np.random.default_rng(0), np.full(8, 0.02)
    low, high = interval(np.zeros(8), grain, level=0.95, draws=4000, rng=rng)
    assert low < 0 < high
    assert high - low == pytest.approx(
        2 * 2.36 * 0.02 / np.sqrt(8), rel=0.15
    )  # Student's t of seven degrees of freedom
    assert interval(np.full(8, 0.5), 0 * grain, level=0.95, draws=100, rng=rng) == (0.5, 0.5)


def test_the_slope_is_least_squares_in_each_pair() -> None:
    rows = [
        {"family": "f", "size": "s", "seed": seed, "dose": dose, "low": seed + (1 + seed) * dose, "grain": 0.1}
        for seed in range(3)
        for dose in (0.0, 0.5, 1.0)
    ]
    pairs = pd.DataFrame(rows).assign(high=lambda frame: frame["low"])
    pairs.loc[(pairs["seed"] == 2) & (pairs["dose"] > 0), "high"] = np.inf
    found = slope_of(pairs)
    np.testing.assert_allclose(found["low"], [1, 2])
    np.testing.assert_allclose(found["grain"], 0.1 / np.sqrt(0.5))


def test_an_event_that_began_before_the_grid_is_in_no_pair() -> None:
    table = planted({"base": 0.0, "clamp=1": -0.2}, n_seeds=4)
    early = table["run"] == "sim:d8/clamp=1/seed0"
    table.loc[early, "value"] = np.where(table.loc[early, "step"] > 0, 1.0, 0.0)
    found = interp.intervention_effects(table)
    assert row_of(found, "clamp=1")["n_pairs"] == 3
    assert any("seed0 is left out" in note for note in found.notes)


def test_families_are_apart_and_results_show_themselves() -> None:
    shifts = {"base": 0.0, "clamp=1": -0.3, "clamp.placebo=1": 0.0}
    table = pd.concat([planted(shifts, n_seeds=4), planted(shifts, n_seeds=4, family="other", seed=1)])
    found = interp.intervention_effects(table)
    assert [(row["family"], row["n"]) for row in found.effects] == [("other", 4), ("other", 4), ("sim", 4), ("sim", 4)]
    assert repr(found).startswith(
        "Effects of 4 interventions on log10 T, against base\n  clamp=1 (skill): earlier, -0."
    )
    assert len(found.to_pandas()) == 4
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["base"] == "base"
    assert "earlier" in found._repr_html_()
    marks = {trace.name: trace.marker.color for trace in found.plot().data if trace.mode == "markers"}
    assert set(marks) == {"clamp", "placebo"}
    assert marks["placebo"] == "#8d949e"


def test_wrong_questions_are_one_clear_message() -> None:
    table = planted({"base": 0.0, "clamp=1": 0.0}, n_seeds=2)
    with pytest.raises(interp.InputError, match=r"unknown setting 'bas'; did you mean 'base'\?"):
        interp.intervention_effects(table, base="bas")
    with pytest.raises(interp.InputError, match=r"unknown setting 'clamp=2'; did you mean 'clamp=1'\?"):
        interp.intervention_effects(table, settings=["clamp=2"])
    with pytest.raises(interp.InputError, match="no run has a partner"):
        interp.intervention_effects(table[(table["setting"] == "d8/base") | (table["seed"] == 7)])
    with pytest.raises(interp.InputError, match="no behaviour 'acuracy'"):
        interp.intervention_effects(table, target="acuracy")
    twice = table.assign(run=np.where(table["seed"] == 1, table["run"] + "b", table["run"]), seed=0)
    with pytest.raises(interp.InputError, match="two runs are of size 'd8', setting 'base' and seed 0"):
        interp.intervention_effects(twice)
