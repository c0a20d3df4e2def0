"""Rolling statistics: closed forms, and nothing from the future."""

import numpy as np
import pandas as pd
import pytest

from interp.errors import InputError
from interp.table.rolling import STATISTICS, dmd_residual, rolling, statistics


def table(values, steps=None, **columns):
    steps = np.arange(1, len(values) + 1) * 10 if steps is None else steps
    return pd.DataFrame({"run": "a", "task": "t", "measure": "m", "step": steps, "value": values, **columns})


def test_a_straight_line_in_log_step_has_its_slope_and_no_residuals():
    steps = np.geomspace(1, 1e4, 30)
    mean, variance, memory, slope, acceleration = statistics(steps, 3 - 2 * np.log10(steps), window=6)
    assert np.isnan(slope[:5]).all()
    assert np.allclose(slope[5:], -2)
    assert np.allclose(variance[5:], 0, atol=1e-20)
    assert np.isnan(memory).all(), "no residuals, no memory"
    assert np.allclose(acceleration[5:], 0, atol=1e-9)
    assert mean[5] == pytest.approx(3 - 2 * np.log10(steps[:6]).mean())


def test_they_agree_with_a_regression_of_each_window():
    rng = np.random.default_rng(0)
    steps, values = np.sort(rng.choice(10_000, 25, replace=False)) + 1.0, rng.normal(size=25)
    mean, variance, memory, slope, acceleration = statistics(steps, values, window=7)
    for end in range(6, 25):
        x, y = np.log10(steps[end - 6 : end + 1]), values[end - 6 : end + 1]
        line = np.polyfit(x, y, 1)
        left = y - np.polyval(line, x)
        assert mean[end] == pytest.approx(y.mean())
        assert acceleration[end] == pytest.approx(2 * np.polyfit(x, y, 2)[0])
        assert slope[end] == pytest.approx(line[0])
        assert variance[end] == pytest.approx(left @ left / 5)
        assert memory[end] == pytest.approx(left[1:] @ left[:-1] / (left @ left))


def test_slowing_down_shows_in_variance_and_memory():
    """An autoregressive process whose recovery slows as it nears a transition."""
    rng = np.random.default_rng(1)
    level, values = 0.0, []
    for memory in np.linspace(0.0, 0.98, 2000):
        level = memory * level + rng.normal()
        values.append(level)
    _, variance, memory, *_ = statistics(np.arange(1, 2001.0), np.array(values), window=200)
    assert variance[-1] > 3 * variance[300]
    assert memory[-1] > memory[300] + 0.5


@pytest.mark.parametrize("seed", range(3))
def test_nothing_comes_from_the_future(seed):
    rng = np.random.default_rng(seed)
    steps, values = np.arange(0, 40.0) * 7, rng.normal(size=40)
    changed = values.copy()
    changed[25:] += rng.normal(size=15) * 1e6
    before, after = (statistics(steps, series, window=8) for series in (values, changed))
    assert np.array_equal(before[:, :25], after[:, :25], equal_nan=True)
    before, after = (dmd_residual(series[:, None], window=8) for series in (values, changed))
    assert np.array_equal(before[:25], after[:25], equal_nan=True)
    assert np.isfinite(before[7:]).all()


def test_missing_values_are_missing_only_in_their_windows():
    values = np.arange(20.0) ** 1.5
    values[7] = np.nan
    variance = statistics(np.arange(1, 21.0), values, window=5)[1]
    assert np.isnan(variance[7:12]).all()
    assert np.isfinite(variance[[4, 5, 6, 12, 13]]).all()


def test_rows_are_of_the_tables_form_one_curve_at_a_time():
    two = pd.concat(
        [table(np.arange(6.0), component="L0"), table(np.arange(6.0)[::-1], component="L1"), table([1.0, 2.0], run="b")]
    )
    found = rolling(two.sample(frac=1, random_state=0), window=4)
    assert set(found["measure"]) == {f"m.{name}" for name in STATISTICS}
    of_curves = found[found["measure"] != "m.dmd_residual"]
    assert len(of_curves) == 5 * len(two)
    assert len(found) - len(of_curves) == 6 + 2, "one state a run, of all its curves"
    assert set(found["kind"]) == {"indicator"}
    last = found[(found["measure"] == "m.slope") & (found["step"] == 60)].set_index("component")["value"]
    assert last["L0"] == pytest.approx(-last["L1"])
    assert last["L0"] > 0
    assert found[found["run"] == "b"]["value"].isna().all()


def test_wrong_input_is_named():
    with pytest.raises(InputError, match="window is 3"):
        rolling(table([1.0, 2.0]), window=3)
    with pytest.raises(InputError, match="unknown measure 'mm'"):
        rolling(table([1.0, 2.0]), measures=["mm"])
    with pytest.raises(InputError, match=r"unknown rolling statistic of 'm' 'slop'.*did you mean 'slope'"):
        rolling(table([1.0, 2.0]), measures=["m.slop"])


def test_one_statistic_can_be_asked_for_and_a_measure_may_have_a_point_in_its_name():
    two = pd.concat([table(np.arange(9.0)), table(np.arange(9.0) ** 2).assign(measure="pkg.own:m")])
    found = rolling(two, measures=["m.mean", "pkg.own:m.slope", "pkg.own:m.memory"], window=4)
    assert sorted(set(found["measure"])) == ["m.mean", "pkg.own:m.memory", "pkg.own:m.slope"]
    everything = rolling(two, window=4).set_index(["measure", "step"])["value"]
    alone = found.set_index(["measure", "step"])["value"]
    assert np.array_equal(alone, everything[alone.index], equal_nan=True)
    assert rolling(two, measures=[]).empty


LINEAR = {
    "decay": np.diag([0.9]),
    "oscillation": np.array([[0.95, -0.3], [0.3, 0.95]]),
    "two decays": np.diag([0.9, 0.5]),
}


@pytest.mark.parametrize("matrix", LINEAR.values(), ids=LINEAR)
def test_a_linear_system_of_rank_two_leaves_no_residual(matrix):
    """Seen through any linear map, with a constant beside it, from as many coordinates as one likes."""
    rng = np.random.default_rng(2)
    state, states = rng.normal(size=len(matrix)), []
    for _ in range(20):
        states.append(state)
        state = matrix @ state
    seen = np.array(states) @ rng.normal(size=(len(matrix), 5)) + rng.normal(size=5)
    residual = dmd_residual(seen, window=8)
    assert np.isnan(residual[:7]).all()
    assert np.allclose(residual[7:], 0, atol=1e-6)
    assert np.allclose(dmd_residual(seen[:, :1], window=8)[7:], 0, atol=1e-6), "delays stand in for coordinates"


def test_the_residual_is_that_of_the_least_squares_map_of_full_rank():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(12, 1))
    residual = dmd_residual(values, window=12)[-1]
    now, after = np.c_[values[:-2], values[1:-1]], np.c_[values[1:-1], values[2:]]
    design = np.c_[now, np.ones(10)]
    left = after - design @ np.linalg.lstsq(design, after, rcond=None)[0]
    assert residual == pytest.approx(np.linalg.norm(left) / np.linalg.norm(after - after.mean(axis=0)))


def test_a_jump_out_of_a_plateau_leaves_a_residual_and_a_plateau_has_none():
    plateau = dmd_residual(np.zeros((16, 3)), window=8)
    assert np.isnan(plateau).all()
    curve = np.r_[0.9 ** np.arange(12), 5.0]
    residual = dmd_residual(curve[:, None], window=8)
    assert np.allclose(residual[7:12], 0, atol=1e-6)
    assert residual[12] > 0.5
