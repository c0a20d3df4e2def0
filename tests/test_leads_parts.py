"""Laws of the parts of the leads protocol: features, models, scores, alarms, nulls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from interp.errors import InputError
from interp.leads.alarms import peaks, score, stretches
from interp.leads.baseline import Rows, at_risk, fit_baseline
from interp.leads.features import FEATURES, features
from interp.leads.forecast import format_forecast
from interp.leads.gain import TRUST, Contest, _fold, gains_by_run
from interp.leads.horizon import auroc, average_precision
from interp.leads.logistic import fit, fit_many, log_loss, sigmoid
from interp.leads.nulls import exchange, log_exchanges, p_family, p_single
from interp.leads.panel import Panel, Series, make_panel, past_budget, target_events, under_way
from interp.leads.run_forecast import tempered
from interp.leads.spec import Spec, read_spec
from interp.leads.splits import folds
from interp.leads.survival import censoring_survival, comparable
from interp.leads.timing import leave_one_out_error, predict, radius
from interp.table import read_table
from interp.table.events import Event, target_rows, tick

SEEDS = st.integers(0, 2**32 - 1)


def panel(
    T: list[float],
    budget: list[float],
    step: list[float],
    values: np.ndarray | None = None,
    setting: list[int] | None = None,
) -> Panel:
    """A panel by hand; `values` are [series, run, step] and become the level."""
    n, m = len(T), len(step)
    told = np.full((1 if values is None else len(values), n, m, len(FEATURES)), np.nan, np.float32)
    if values is not None:
        told[..., 0] = values
    code = np.array(setting or [0] * n)
    return Panel(
        task="t", target="exact_match", runs=tuple(f"r{i}" for i in range(n)),
        settings=tuple(f"s{i}" for i in range(code.max() + 1)), sizes=("z",), setting=code, size=np.zeros(n, int),
        task_code=np.zeros(n, int), step=np.array(step, float), seen=np.ones((n, m), bool), T=np.array(T, float),
        rising=np.zeros((n, m)),
        middle=np.array(T, float), budget=np.array(budget, float), planned=np.array(budget, float),
        series=tuple(Series(measure=f"m{i}") for i in range(len(told))), values=told,
    )  # fmt: skip


# features


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(0, 39), st.sampled_from(["log", "linear"]))
def test_features_do_not_see_the_future(seed: int, k: int, spacing: str) -> None:
    rng = np.random.default_rng(seed)
    step = np.unique((np.geomspace if spacing == "log" else np.linspace)(1, 10_000, 40).round())
    k = min(k, len(step) - 2)
    x = rng.standard_normal((3, len(step))).cumsum(axis=1)
    y = x.copy()
    y[:, k + 1 :] = 100 * rng.standard_normal(y[:, k + 1 :].shape)
    assert np.array_equal(features(step, x)[:, : k + 1], features(step, y)[:, : k + 1], equal_nan=True)
    short = features(step[: k + 1], x[:, : k + 1])
    np.testing.assert_allclose(short, features(step, x)[:, : k + 1], rtol=1e-9, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.floats(-50, 50), st.floats(0.1, 100))
def test_features_under_a_change_of_units(seed: int, shift: float, scale: float) -> None:
    x = np.random.default_rng(seed).standard_normal((2, 50))
    step = np.geomspace(1, 1e4, 50)
    before, after = features(step, x), features(step, shift + scale * x)
    expected = {
        "level": shift + scale * before[..., 0],
        "mean": shift + scale * before[..., 1],
        "change": scale * before[..., 2],
        "deviation": before[..., 3],
        "spread": before[..., 4] + np.log10(scale),
        "memory": before[..., 5],
    }
    rounding = 1e-6 * (abs(shift) + 5 * scale) / 10 ** np.nan_to_num(expected["spread"])  # of residuals so small
    for name, value in expected.items():
        found = after[..., FEATURES.index(name)]
        assert np.array_equal(np.isnan(found), np.isnan(value))
        slack = 1e-3 * abs(value) + 2e-3 * max(1, scale) + 2 * rounding
        assert (abs(found - value) <= slack)[~np.isnan(value)].all(), name


def test_a_straight_line_in_log_step_has_no_spread_and_a_step_has_change() -> None:
    step = 2.0 ** np.arange(0, 12, 0.25)
    line = features(step, np.log(step)[None])[0]
    assert np.nanmax(line[:, FEATURES.index("spread")]) < -4
    np.testing.assert_allclose(line[10:, FEATURES.index("change")], np.log(2), rtol=1e-6)
    jump = features(step, (step > 100).astype(float)[None])[0]
    at = int(np.searchsorted(step, 400))
    assert jump[at, FEATURES.index("mean")] == pytest.approx(1)
    assert jump[at, FEATURES.index("deviation")] > 5
    assert (tick(np.array([0, 4, 8])) == [2, 4, 8]).all()


# models


@pytest.mark.parametrize("seed", range(6))
def test_logistic_fit_is_the_minimum_that_scipy_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(80), rng.standard_normal((80, 4)) * [1, 3, 0.3, 1]])
    y = (rng.random(80) < sigmoid(x @ rng.standard_normal(5) * 3)).astype(float)
    penalty = np.array([1e-6, 0.1, 1.0, 0.01, 5.0])

    def loss(w: np.ndarray) -> float:
        return log_loss(x @ w, y).sum() + 0.5 * penalty @ w**2

    best = optimize.minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(fit(x, y, penalty), best.x, rtol=1e-3, atol=1e-4)
    many = fit_many(np.stack([x.T, x[:, ::-1].T]), y, np.zeros(80), 0.5)
    np.testing.assert_allclose(many[0], fit(x, y, np.full(5, 0.5)), atol=2e-3)
    np.testing.assert_allclose(many[1], many[0][::-1], atol=2e-3)


def contest_of(seed: int, n_runs: int = 20, n_grid: int = 9) -> tuple[Contest, np.ndarray, np.random.Generator]:
    """A contest of two folds with a baseline of an intercept and one column, and the cells of three series of two features."""
    rng = np.random.default_rng(seed)
    run, grid = (axis.ravel() for axis in np.meshgrid(np.arange(n_runs), np.arange(n_grid - 1), indexing="ij"))
    rows = Rows(run=run, grid=grid, label=(rng.random(len(run)) < 0.4).astype(float))
    columns = np.column_stack([np.ones(len(run)), rng.standard_normal(len(run))])
    fitted = fit_baseline(columns, rows, run % 2)
    folds = [
        _fold(columns, rows, np.flatnonzero(run % 2 != f.held), np.flatnonzero(run % 2 == f.held), f) for f in fitted
    ]
    game = Contest(rows=rows, folds=tuple(folds), n_runs=n_runs, n_grid=n_grid)
    return game, rng.standard_normal((n_runs * n_grid, 3, 2)).astype(np.float32), rng


def test_gains_are_those_of_the_plain_formula() -> None:
    """Fold by fold and series by series, in double precision and without tiles."""
    game, values, _ = contest_of(0)
    plain = np.zeros((3, 20))
    for fold in game.folds:
        for k in range(3):
            x = values[game.cell, k].astype(float)
            part = x[fold.train].T @ fold.projector
            inside, outside = x[fold.train] - fold.columns @ part.T, x[fold.test] - fold.test_columns @ part.T
            scale, middle = np.sqrt((inside**2).mean(axis=0)), fold.offset.mean()
            inside = np.column_stack([inside / scale, fold.offset - middle, np.ones(len(inside))])
            outside = np.column_stack([outside / scale, fold.test_offset - middle, np.ones(len(outside))])
            weight = fit_many(inside.T[None], fold.label, fold.offset, fold.strength)[0]
            loss = log_loss(fold.test_offset + TRUST * outside @ weight, fold.test_label)
            np.add.at(plain[k], game.rows.run[fold.test], (fold.test_loss - loss) / np.log(2))
    np.testing.assert_allclose(gains_by_run(game, values), plain, atol=1e-5)


def test_gains_do_not_depend_on_tiles_and_a_cell_is_whose_values_a_row_is_given(monkeypatch) -> None:
    game, values, rng = contest_of(1)
    own = gains_by_run(game, values)
    order = rng.permutation(20)
    moved = values.reshape(20, 9, 3, 2)[order].reshape(values.shape)
    cell = order[game.rows.run] * game.n_grid + game.rows.grid
    np.testing.assert_array_equal(gains_by_run(game, values, cell), gains_by_run(game, moved))
    monkeypatch.setattr("interp.leads.gain.TILE", 7)
    monkeypatch.setattr("interp.leads.logistic.IN_CACHE", 1)
    np.testing.assert_allclose(gains_by_run(game, values), own, atol=1e-6)


def test_separable_data_stay_finite() -> None:
    x = np.column_stack([np.ones(20), np.r_[np.zeros(10), np.full(10, 1e3)]])
    y = np.r_[np.zeros(10), np.ones(10)]
    weight = fit(x, y, np.array([1e-6, 1.0]))
    assert np.isfinite(weight).all()
    assert log_loss(x @ weight, y).mean() < 0.5
    assert np.isfinite(fit_many(x.T[None], y, np.zeros(20), 1.0)).all()


@pytest.mark.parametrize("seed", range(3))
def test_ridge_recovers_a_line_and_its_leave_one_out_error_is_that_of_refitting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((30, 3))
    y = 2 + x @ [1.0, -2.0, 0.5]
    np.testing.assert_allclose(predict(x, y, x[:5]), y[:5], atol=0.05)
    shifted = predict(x + 7, y - 3, x[:5] + 7)
    np.testing.assert_allclose(shifted, predict(x, y, x[:5]) - 3, atol=1e-9)
    noise = y + rng.standard_normal(30)
    assert leave_one_out_error(x, noise) > ((noise - predict(x, noise, x)) ** 2).sum()


@pytest.mark.parametrize("n", [19, 40, 200])
def test_conformal_radius_covers_a_further_draw_at_its_level(n: int) -> None:
    rng = np.random.default_rng(n)
    inside = [abs(rng.standard_normal()) <= radius(rng.standard_normal(n), 0.8) for _ in range(4000)]
    assert abs(np.mean(inside) - 0.8) < 0.02
    assert radius(np.zeros(3), 0.8) == np.inf


def test_tempered_logits_are_as_sure_as_held_out_ones_came_true() -> None:
    rng = np.random.default_rng(0)
    truth = 2 * rng.standard_normal(4000)
    label = (rng.random(4000) < sigmoid(truth)).astype(float)
    new = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(tempered(3 * truth, label, 3 * new), new, atol=0.35)
    np.testing.assert_allclose(tempered(truth, label, new), new, atol=0.35)
    np.testing.assert_array_equal(tempered(np.empty(0), np.empty(0), new), new)


# scores


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_auroc_and_average_precision_against_their_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, stratum = rng.integers(0, 6, 40).astype(float), rng.integers(0, 2, 40).astype(float), rng.integers(0, 3, 40)
    pairs = [
        (x[i] > x[j]) + 0.5 * (x[i] == x[j])
        for i in range(40)
        for j in range(40)
        if y[i] == 1 and y[j] == 0 and stratum[i] == stratum[j]
    ]
    assert auroc(x, y, stratum) == pytest.approx(np.mean(pairs))
    total, last = 0.0, 0.0
    for cut in sorted(set(x), reverse=True):
        recall, precision = y[x >= cut].sum() / y.sum(), y[x >= cut].mean()
        total, last = total + (recall - last) * precision, recall
    assert average_precision(x, y) == pytest.approx(total)


def test_scores_without_a_pair_are_undefined() -> None:
    assert np.isnan(auroc(np.zeros(3), np.ones(3), np.zeros(3, int)))
    assert np.isnan(average_precision(np.zeros(3), np.zeros(3)))


def test_censoring_survival_is_kaplan_meier_of_the_censored() -> None:
    p = panel([5, np.inf, 20, np.inf, 50], [100, 10, 100, 30, 100], [1, 2, 4])
    np.testing.assert_allclose(censoring_survival(p, np.array([5.0, 10.0, 20.0, 50.0])), [1, 1, 3 / 4, 3 / 4 * 1 / 2])


def test_comparable_pairs_are_jumps_against_later_or_no_jumps_in_the_same_bin() -> None:
    p = panel([5, 7, np.inf], [100] * 3, [1])
    first, second = comparable(p, np.array([0, 1, 2, 1, 2]), np.array([0, 0, 0, 1, 1]), np.array([1.0, 0, 0, 1, 0]))
    assert list(zip(first, second, strict=True)) == [(0, 1), (0, 2), (3, 4)]


# events, rows and alarms


def test_stretches_are_those_of_the_protocol() -> None:
    step = [1, 10, 31, 33, 89, 90, 91, 100, 300, 400]
    p = panel([100, np.inf], [1000, 1000], step)
    null, window = stretches(p, Spec())
    assert [step[k] for k in np.flatnonzero(null[0])] == [1, 10, 31]
    assert [step[k] for k in np.flatnonzero(window[0])] == [33, 89, 90]
    assert [step[k] for k in np.flatnonzero(null[1])] == [1, 10, 31, 33, 89, 90, 91, 100, 300]
    assert not window[1].any()


def test_rows_at_risk_have_known_labels_whatever_happened() -> None:
    p = panel([100, np.inf, 900], [1000] * 3, [10, 50, 99, 100, 200, 500, 600])
    rows = at_risk(p, 2.0)
    told = {
        run: list(zip(p.step[rows.grid[rows.run == run]], rows.label[rows.run == run], strict=True)) for run in range(3)
    }
    assert told[0] == [(10, 0), (50, 1), (99, 1)]
    # of checkpoints closer than a quarter of the horizon (99 and 100) the first is kept
    assert told[1] == [(10, 0), (50, 0), (99, 0), (200, 0), (500, 0)]
    assert told[2] == [(10, 0), (50, 0), (99, 0), (200, 0), (500, 1)]  # 600: (600, 1200] is past the budget


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_coverage_is_what_going_through_the_checkpoints_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    step = np.geomspace(1, 1000, 25)
    T = np.where(rng.random(60) < 0.7, step[rng.integers(8, 25, 60)], np.inf)
    p = panel(T.tolist(), [1000.0] * 60, step.tolist(), rng.standard_normal((2, 60, 25)))
    spec, fold = Spec(), np.arange(60) % 3
    for alarm, level in zip(score(p, peaks(p, spec), fold, 0.2, spec), p.values[..., 0], strict=True):
        assert alarm.n_events == np.isfinite(T).sum()
        assert len(alarm.leads) == round(alarm.coverage * alarm.n_events)
        assert all(spec.delta - 1e-9 <= lead <= 1 - 1 / spec.half_decade + 1e-9 for lead in alarm.leads)
        first = np.array(alarm.alarm_step)
        early = first * spec.half_decade < T
        early[~np.isfinite(T)] = first[~np.isfinite(T)] * spec.half_decade <= 1000
        null = np.array([(step * spec.half_decade < min(t, 1001)).any() for t in T])
        assert alarm.realised == pytest.approx(early[null].mean())
        assert level.shape == (60, 25)


def test_realised_false_alarm_rate_is_at_most_the_nominal_one_on_noise() -> None:
    rng = np.random.default_rng(0)
    step = np.geomspace(1, 1000, 20)
    T = np.where(rng.random(1000) < 0.5, 900.0, np.inf)
    p = panel(T.tolist(), [1000.0] * 1000, step.tolist(), rng.standard_normal((3, 1000, 20)))
    for rate in (0.05, 0.1, 0.2):
        for alarm in score(p, peaks(p, Spec()), np.arange(1000) % 5, rate, Spec()):
            assert abs(alarm.realised - rate) < 0.03


def test_coverage_is_undefined_where_the_negatives_are_too_few_for_the_rate() -> None:
    step = np.geomspace(1, 1000, 20)
    p = panel([900.0] * 20, [1000.0] * 20, step.tolist(), np.zeros((1, 20, 20)))
    found = peaks(p, Spec())
    alarm = score(p, found, np.arange(20) % 5, 0.05, Spec())[0]
    assert np.isnan(alarm.coverage)
    assert "16 calibration runs" in alarm.reason
    assert "needs 19" in alarm.reason
    assert np.isfinite(score(p, found, np.arange(20) % 5, 0.1, Spec())[0].coverage)


def test_a_perfect_warning_covers_everything_at_its_lead() -> None:
    step = np.geomspace(1, 1000, 200)
    T = step[np.random.default_rng(0).integers(120, 199, 60)]
    warned = (step[None] >= T[:, None] / 2) * 1.0 + 0.01 * np.random.default_rng(1).standard_normal((60, 200))
    alarm = score(
        p := panel(T.tolist(), [1000.0] * 60, step.tolist(), warned[None]),
        peaks(p, Spec()),
        np.arange(60) % 5,
        0.1,
        Spec(),
    )[0]
    assert alarm.coverage > 0.85
    assert np.median(alarm.leads) == pytest.approx(0.5, abs=0.03)
    assert alarm.rule == "level above"


def event_of(step: np.ndarray, value: np.ndarray, *, measure: str, **options: object) -> Event:
    rows = {"run": "r", "task": "t", "measure": measure, "step": step, "value": value, "kind": "behaviour"}
    goal = target_rows(read_table(pd.DataFrame(rows)), "t", measure)
    return target_events(goal, Spec(**options))["r"]


@pytest.mark.parametrize("centre", [300.0, 1000.0])
def test_the_event_is_the_last_checkpoint_below_a_tenth_of_a_completed_rise(centre: float) -> None:
    step = np.unique(np.geomspace(10, 10_000, 60).round())
    share = sigmoid(4.394 * np.log10(step / centre) / 0.3)
    up = event_of(step, 0.1 + 0.8 * share, measure="accuracy", min_magnitude=0.2)
    expected = step[np.flatnonzero(share < 0.1)[-1]]
    assert abs(np.searchsorted(step, up.T) - np.searchsorted(step, expected)) <= 1
    assert up.T in step, "the checkpoint's own step, to the bit"
    assert up.middle == pytest.approx(centre, rel=0.1)
    far = under_way(up, step)
    assert (np.diff(far) >= 0).all()
    assert far[share < 0.005].max() == 0
    assert np.interp(0.1, share, far) == pytest.approx(1, abs=0.1)
    down = event_of(step, 0.9 - 0.8 * share, measure="accuracy", min_magnitude=0.2)
    small = event_of(step, 0.1 + 0.15 * share, measure="accuracy", min_magnitude=0.2)
    cut = event_of(step[share < 0.7], share[share < 0.7], measure="accuracy", min_magnitude=0.2)
    assert down.T == small.T == cut.T == np.inf
    assert (under_way(down, step) == 0).all()


def test_checkpoints_past_the_budget_are_said_and_censored() -> None:
    step = np.geomspace(10, 1000, 30).round()
    runs = []
    for run, centre, budget in (("early", 60.0, 400), ("late", 600.0, 400), ("short", 60.0, 1000)):
        value = sigmoid(4.394 * np.log10(step / centre) / 0.2)
        runs.append(pd.DataFrame({"run": run, "step": step, "value": value, "budget": budget}))
    table = read_table(pd.concat(runs).assign(task="t", measure="accuracy", kind="behaviour"))
    made = make_panel(table, "t", Spec())
    assert made.event.tolist() == [True, False, True]
    assert made.budget.tolist() == [400, 400, 1000]
    assert past_budget(made)[0].startswith("t: 2 of 3 runs have checkpoints past their budget")
    assert past_budget(made.take([2])) == []


def test_a_forecast_as_text_holds_no_raw_data_and_every_number_of_the_tables() -> None:
    point = {"step": 10.0, "p_next": None, "p_by_budget": 0.5, "predicted": 1234.5, "low": 600.0, "high": 3000.0}
    bins = [{"forecast": 0.25, "observed": 0.125, "n": 8}]
    told = {"n": 8, "brier": 0.111, "brier_prevalence": 0.222, "bins": bins}
    empty = {"n": 0, "brier": None, "brier_prevalence": None, "bins": []}
    shared = {"mdape": 0.31, "interval_coverage": 0.75, "level": 0.8, "n": 8}
    facts = {"run": "r0", "T": None, "now": 10.0, "series": ["a", "b L0"], "reason": "", "notes": []}
    text = format_forecast(
        {**facts, "points": [point], "calibration": {"p_next": empty, "p_by_budget": told, **shared}}
    )
    assert not set("{}[]'") & set(text)
    lines = [line.split() for line in text.splitlines()]
    assert ["T:", "–"] in lines
    assert ["series:", "a,", "b", "L0"] in lines
    assert ["10", "–", "0.5", "1234", "600", "3000"] in lines
    assert ["p_by_budget", "8", "0.111", "0.222"] in lines
    assert ["p_next", "0", "–", "–"] in lines
    assert ["p_by_budget", "0.25", "0.125", "8"] in lines
    assert "median error 0.31, interval holds 0.75 (nominal 0.8)" in text
    alone = format_forecast({**facts, "points": [], "calibration": {"p_next": empty, "p_by_budget": empty, **shared}})
    assert "earlier steps" not in alone


# splits and nulls


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_folds_keep_settings_apart_or_balanced(seed: int) -> None:
    rng = np.random.default_rng(seed)
    setting = rng.integers(0, 6, 50)
    p = panel([np.inf] * 50, [10.0] * 50, [1.0], setting=[*setting.tolist(), 5][:50])
    by_setting = folds(p, "setting", 3, seed)
    assert all(len(np.unique(by_setting[p.setting == code])) == 1 for code in np.unique(p.setting))
    counts = np.array(
        [np.bincount(folds(p, "run", 5, seed)[p.setting == code], minlength=5) for code in np.unique(p.setting)]
    )
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()


def test_exchange_stays_within_settings_and_moves_runs() -> None:
    setting = np.array([0, 1, 0, 1, 0, 2])
    rng = np.random.default_rng(0)
    donors = np.array([exchange(setting, rng) for _ in range(200)])
    assert (setting[donors] == setting).all()
    assert (np.sort(donors, axis=1) == np.arange(6)).all()
    assert {tuple(d) for d in donors} == {tuple(d) for d in donors if d[5] == 5}
    assert len({tuple(d) for d in donors}) == round(np.exp(log_exchanges(setting))) == 12


@pytest.mark.parametrize("standardise", [True, False])
def test_family_wise_p_is_uniform_under_the_null_and_never_below_the_single_p(standardise: bool) -> None:
    rng = np.random.default_rng(0)
    smallest = []
    for _ in range(600):
        draws = rng.standard_normal((40, 6)) * np.array([1, 1, 5, 0.1, 1, 1]) + 0.5 * rng.standard_normal((40, 1))
        p = p_family(draws[0], draws[1:], standardise=standardise)
        if not standardise:
            assert (p >= p_single(draws[0], draws[1:]) - 1e-12).all()
        smallest.append(p.min())
    assert np.mean(np.array(smallest) <= 0.05) == pytest.approx(0.05, abs=0.027)
    assert np.mean(np.array(smallest) <= 0.5) == pytest.approx(0.5, abs=0.07)


def test_a_series_that_no_exchange_changes_has_p_one() -> None:
    rng = np.random.default_rng(0)
    draws = np.column_stack([np.full(50, 0.3), rng.standard_normal(50)])
    draws[0, 1] = 9
    p = p_family(draws[0], draws[1:], standardise=True)
    assert p[0] == 1
    assert p[1] == pytest.approx(1 / 50)


# spec


def test_digest_depends_on_every_field_and_on_nothing_else() -> None:
    base = Spec()
    assert base.digest == Spec().digest == read_spec({"rates": [0.05, 0.1, 0.2]}).digest
    others = [
        replace(base, delta=0.2),
        replace(base, target="accuracy"),
        replace(base, seed=1),
        replace(base, rates=(0.05,)),
    ]
    assert len({spec.digest for spec in [base, *others]}) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"permutation": 3}, "did you mean 'permutations'"),
        ({"delta": 2}, "delta is 2; expected a number between 0 and 1"),
        ({"folds": 1}, "folds is 1"),
        ({"permutations": 10}, "needs 19"),
        ({"rates": [5.0]}, "rates is"),
        ({"rates": 0.05}, "rates is 0.05; expected a list"),
        ({"event": "mid"}, "unknown event of a spec 'mid'"),
        ({"seed": "a"}, "seed is 'a'"),
    ],
)
def test_a_wrong_spec_is_named(content: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        read_spec(content)
