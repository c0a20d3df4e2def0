"""Rolling statistics: closed forms, and nothing from the future."""

import numpy as np
import pandas as pd
import pytest

from interp.errors import InputError
from interp.table.rolling import rolling, statistics


def table(values, steps=None, **columns):
    steps = np.arange(1, len(values) + 1) * 10 if steps is None else steps
    return pd.DataFrame({"run": "a", "task": "t", "measure": "m", "step": steps, "value": values, **columns})


def test_a_straight_line_in_log_step_has_its_slope_and_no_residuals():
    steps = np.geomspace(1, 1e4, 30)
    variance, memory, slope = statistics(steps, 3 - 2 * np.log10(steps), window=6)
    assert np.isnan(slope[:5]).all()
    assert np.allclose(slope[5:], -2)
    assert np.allclose(variance[5:], 0, atol=1e-20)
    assert np.isnan(memory).all(), "no residuals, no memory"


def test_they_agree_with_a_regression_of_each_window():
    rng = np.random.default_rng(0)
    steps, values = np.sort(rng.choice(10_000, 25, replace=False)) + 1.0, rng.normal(size=25)
    variance, memory, slope = statistics(steps, values, window=7)
    for end in range(6, 25):
        x, y = np.log10(steps[end - 6 : end + 1]), values[end - 6 : end + 1]
        line = np.polyfit(x, y, 1)
        left = y - np.polyval(line, x)
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
    variance, memory, _ = statistics(np.arange(1, 2001.0), np.array(values), window=200)
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


def test_missing_values_are_missing_only_in_their_windows():
    values = np.arange(20.0) ** 1.5
    values[7] = np.nan
    variance = statistics(np.arange(1, 21.0), values, window=5)[0]
    assert np.isnan(variance[7:12]).all()
    assert np.isfinite(variance[[4, 5, 6, 12, 13]]).all()


def test_rows_are_of_the_tables_form_one_curve_at_a_time():
    two = pd.concat(
        [table(np.arange(6.0), component="L0"), table(np.arange(6.0)[::-1], component="L1"), table([1.0, 2.0], run="b")]
    )
    found = rolling(two.sample(frac=1, random_state=0), window=4)
    assert set(found["measure"]) == {"m.variance", "m.memory", "m.slope"}
    assert len(found) == 3 * len(two)
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
