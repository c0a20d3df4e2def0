"""Laws of a jump verdict over random curves: what is reported is in the curve."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.jumps.curve import log_axis, make_curve
from interp.jumps.detectors.sigmoid_fit import sigmoid_fit
from interp.jumps.null import autoregressive, by_known_errors
from interp.jumps.verdict import Limits

SEEDS = st.integers(0, 10_000)
few = settings(max_examples=12, deadline=None)
FORMS = (
    lambda u: 0.5 * (1 + np.tanh(2.197 * u)),
    lambda u: np.exp(-np.exp(-np.clip(3.084 * u, -5, 50))),
    lambda u: np.clip(1.25 * u / 2 + 0.5, 0, 1),
)
"""Rises from 0 to 1 about 0, none of them wider than 1.6 from 10 to 90 %."""
STEPS = np.unique(np.geomspace(10, 100_000, 45).round().astype(int))
"""One grid, so that what curves share is made once."""


def planted(seed: int, *, steps=STEPS, low: float = 0.02, high: float = 0.25):
    """Values of a curve with one rise or fall, its place, its signed size and its noise."""
    rng = np.random.default_rng(seed)
    x = log_axis(steps)
    middle, width = rng.uniform(x[12], x[-12]), rng.uniform(low, high)
    size = rng.uniform(0.3, 0.7) * rng.choice([-1, 1])
    noise = rng.uniform(0.005, 0.03)
    clean = 0.5 - size / 2 + size * FORMS[rng.integers(3)]((x - middle) / width)
    return clean + noise * rng.standard_normal(len(x)), middle, size, noise


def judged(values, steps=STEPS, **limits):
    curve = make_curve(steps, values, measure="accuracy")
    return curve, sigmoid_fit(curve, Limits(**limits)).rises


def told(rises):
    return [(rise.kind, rise.before, rise.after) for rise in rises]


@few
@given(SEEDS)
def test_a_change_has_the_sign_and_the_size_of_the_data_and_its_interval_holds_it(seed):
    values, middle, size, noise = planted(seed)
    curve, rises = judged(values)
    (rise,) = (one for one in rises if one.kind != "spike")
    before, after = values[: rise.before + 1].mean(), values[rise.after :].mean()
    assert rise.magnitude * size > 0
    assert abs(rise.magnitude - (after - before)) <= 4 * noise + 0.1 * abs(size)
    assert np.isclose(rise.magnitude, rise.value_after - rise.value_before)
    gap = np.diff(curve.x).max()
    assert curve.x[rise.before] - gap <= middle <= curve.x[rise.after] + gap
    assert curve.x[rise.before] <= rise.midpoint <= curve.x[rise.after]
    assert rise.low <= rise.midpoint <= rise.high


@few
@given(SEEDS)
def test_a_spike_holds_the_checkpoint_that_stands_out(seed):
    rng = np.random.default_rng(seed)
    values = 0.5 + 0.01 * rng.standard_normal(len(STEPS))
    at = int(rng.integers(3, len(STEPS) - 3))
    values[at] += rng.choice([-1, 1]) * rng.uniform(0.2, 0.4)
    _, rises = judged(values)
    assert told(rises) == [("spike", at - 1, at + 1)]


@few
@given(SEEDS, st.floats(0.1, 0.3))
def test_nothing_below_the_least_magnitude_is_an_event(seed, least):
    values, _, _, _ = planted(seed)
    rng = np.random.default_rng(seed)
    for height in (0.6, 1.5):
        _, rises = judged(
            0.5 + height * least * (values - 0.5) / 0.7 + 0.002 * rng.standard_normal(len(values)), min_magnitude=least
        )
        assert all(abs(rise.magnitude) >= least for rise in rises)


@few
@given(SEEDS)
def test_a_checkpoint_far_away_does_not_move_a_change(seed):
    """Cut off, or one more on the plateau."""
    values, _, size, noise = planted(seed)
    _, (rise, *_) = judged(values)
    level = values[-6:].mean()
    _, cut = judged(values[:-1], STEPS[:-1])
    _, more = judged(np.append(values, level), np.append(STEPS, 120_000))
    for others in (cut, more):
        assert [(one.kind, one.before, one.after) for one in others[:1]] == told([rise])
        assert abs(others[0].midpoint - rise.midpoint) < 0.1
        assert abs(others[0].magnitude - rise.magnitude) < 2 * noise + 0.05 * abs(size)


@few
@given(SEEDS, st.floats(-3, 3), st.floats(-3, 3))
def test_units_of_values_and_of_steps_change_nothing(seed, of_values, of_steps):
    values, *_ = planted(seed)
    plain = make_curve(STEPS, values, span=1.0)
    scaled = make_curve(STEPS * 10**of_steps, values * 10**of_values + 1, span=10**of_values)
    ours, theirs = (sigmoid_fit(curve, Limits()).rises for curve in (plain, scaled))
    assert told(ours) == told(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert np.isclose(other.magnitude, one.magnitude * 10**of_values, rtol=1e-3)
        assert np.isclose(other.midpoint - of_steps, one.midpoint, atol=1e-3)
        assert np.isclose(other.width, one.width, atol=0.01)


@few
@given(SEEDS)
def test_a_long_plateau_within_a_climb_parts_it(seed):
    """A first step, flat for a decade, and a second climb are two changes, the second one by itself."""
    rng = np.random.default_rng(seed)
    x = log_axis(STEPS)
    second = rng.uniform(3.7, 4.2)
    values = 0.05 + 0.4 * FORMS[0]((x - 2) / 0.2) + 0.4 * FORMS[0]((x - second) / rng.uniform(0.15, 0.5))
    _, rises = judged(values + 0.01 * rng.standard_normal(len(x)))
    changes = [rise for rise in rises if rise.kind != "spike"]
    assert len(changes) == 2
    assert x[changes[1].before] > 2.5
    assert abs(changes[1].magnitude - 0.4) < 0.1


@few
@given(SEEDS)
def test_known_errors_tell_a_straight_climb_from_a_slow_error(seed):
    """On a short grid a climb of many standard errors is no noise, however dependent its errors."""
    rng = np.random.default_rng(seed)
    steps = np.unique(np.geomspace(600, 1500, 16).astype(int))
    values = rng.binomial(200, np.linspace(0.05, rng.uniform(0.45, 0.7), len(steps))) / 200
    rises = sigmoid_fit(make_curve(steps, values, measure="accuracy", n=200), Limits()).rises
    assert rises
    assert all(rise.kind != "abrupt" for rise in rises)


@few
@given(SEEDS)
def test_a_wide_rise_of_many_standard_errors_is_seen_by_five_checkpoints(seed):
    """Few checkpoints cannot tell how wide a rise is; that there is one, their known errors tell."""
    rng = np.random.default_rng(seed)
    steps = np.unique(np.geomspace(10, 1e5, rng.integers(5, 9)).astype(int))
    rise = FORMS[0]((log_axis(steps) - rng.uniform(2.5, 3.5)) / rng.uniform(1, 2))
    values = rng.binomial(500, 0.2 + 0.6 * rise) / 500
    rises = sigmoid_fit(make_curve(steps, values, measure="accuracy", n=500), Limits()).rises
    assert rises
    assert all(rise.kind != "abrupt" and rise.magnitude > 0 for rise in rises)
    flat = rng.binomial(500, 0.4, len(steps)) / 500
    assert not sigmoid_fit(make_curve(steps, flat, measure="accuracy", n=500), Limits()).rises


@few
@given(SEEDS)
def test_a_late_rise_from_exactly_zero_is_found_whatever_its_known_errors(seed):
    """Errors known and uneven, none of them dependent: weights that a grid's sigmoids are given stay as they are."""
    rng = np.random.default_rng(seed)
    steps = np.arange(0, 10_001, 100)
    rate = rng.uniform(0.4, 0.9) * FORMS[0]((log_axis(steps) - rng.uniform(3.7, 3.85)) / 0.15)
    values = rng.binomial(200, np.where(rate < 0.01, 0, rate)) / 200
    rises = sigmoid_fit(make_curve(steps, values, measure="accuracy", n=200), Limits()).rises
    assert max((rise.magnitude for rise in rises), default=0) >= 0.3


@few
@given(SEEDS, st.sampled_from([0, 0.5, 0.9]))
def test_known_errors_tell_an_early_jump_from_a_slow_error_and_dependent_errors_from_a_jump(seed, rho):
    """Four checkpoints before a jump of six standard errors and many after it; errors of that size without one."""
    rng = np.random.default_rng(seed)
    steps = np.unique(np.geomspace(10, 100_000, 20).astype(int))
    values = rng.binomial(50, np.where(np.arange(20) < 4, 0.3, 0.75)) / 50
    rises = sigmoid_fit(make_curve(steps, values, measure="accuracy", n=50), Limits()).rises
    assert max((rise.magnitude for rise in rises), default=0) > 0.25
    errors = autoregressive(1, 20, rho, rng)[0]
    assert by_known_errors(0.5 + 0.07 * errors, np.full(20, 0.07)) > 0.05
