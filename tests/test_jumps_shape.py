"""Breakthroughness and linearity against their closed forms, and the comparison of models on curves of a known form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from interp.jumps import onset
from interp.jumps.about.breakthroughness import breakthroughness, improvement, linearity, shapes
from interp.jumps.about.forms import PARAMETERS, best_model, compare_models
from interp.jumps.curve import make_curve
from interp.jumps.null import autoregressive

CURVES = st.lists(st.integers(-50, 50), min_size=3, max_size=20).map(np.array)


@pytest.mark.parametrize("n", [2, 5, 30])
@pytest.mark.parametrize("slope", [0.3, -2.0])
def test_a_straight_line_has_both_figures_at_n_minus_1(n, slope):
    line = slope * np.arange(n)
    assert breakthroughness(line) == pytest.approx(np.sign(slope) * (n - 1))
    assert linearity(line) == pytest.approx(np.sign(slope) * (n - 1))


@pytest.mark.parametrize("n", [4, 9, 30])
def test_a_step_has_no_breakthroughness_and_a_linearity_of_root_n_minus_1(n):
    step = (np.arange(n) >= n // 2) * 0.7
    assert np.isnan(breakthroughness(step))
    assert linearity(step) == pytest.approx(np.sqrt(n - 1))


def test_a_constant_has_neither():
    assert np.isnan(breakthroughness(np.ones(5)))
    assert np.isnan(linearity(np.ones(5)))
    assert np.isnan(linearity(np.ones(1)))


def test_figures_by_hand():
    y = np.array([0.0, 0.1, 0.1, 0.6, 0.5])
    squares = np.array([0.01, 0.0, 0.25, 0.01])
    assert improvement(y) == pytest.approx(0.6)
    assert breakthroughness(y) == pytest.approx(0.6 / np.sqrt(np.median(squares)))
    assert linearity(y) == pytest.approx(0.6 / np.sqrt(squares.mean()))


@settings(max_examples=60, deadline=None)
@given(y=CURVES, scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_both_figures_are_blind_to_units_and_odd_in_sign(y, scale, shift):
    assume(len(set(y)) == len(y))
    for figure in (breakthroughness, linearity):
        assert figure(scale * y + shift) == pytest.approx(figure(y), rel=1e-6)
        assert figure(-y) == pytest.approx(-figure(y))
        assert abs(figure(y)) <= (np.inf if figure is breakthroughness else len(y) - 1 + 1e-9)


def test_the_null_and_the_band_tell_a_line_from_noise():
    rng = np.random.default_rng(0)
    noise = autoregressive(200, 30, 0.5, rng)
    p = np.array([[shape.p_value for shape in shapes(row, 0.5)] for row in noise])
    assert ((p <= 0.05).mean(0) <= 0.1).all(), "trendless noise is not significant"
    assert ((p <= 0.5).mean(0) >= 0.4).all()
    for shape in shapes(np.linspace(0, 1, 30) + 0.001 * noise[0]):
        assert shape.p_value <= 0.002
        assert shape.scaled == pytest.approx(1, abs=0.1)
        assert shape.high >= shape.low > 0.7, "thinning a line at random makes its steps uneven, not its range"


def test_the_figures_reach_the_record():
    y = [0.1, 0.12, 0.11, 0.4, 0.8, 0.81, 0.83, 0.82]
    jump = onset([1, 2, 4, 8, 16, 32, 64, 128], y, measure="accuracy")
    assert jump.breakthroughness == pytest.approx(float(breakthroughness(np.array(y))))
    assert jump.linearity == pytest.approx(float(linearity(np.array(y))))
    assert jump.breakthroughness_scaled == pytest.approx(jump.breakthroughness / 7)


def forms(x):
    t = 10**x
    return {
        "flat": np.full(len(x), 0.4),
        "sigmoid": 0.1 + 0.8 / (1 + np.exp(-(x - 2.4) / 0.12)),
        "power law": 0.2 + 3 * t**-0.45,
        "broken power law": 0.1 + 2 * t**-0.3 * (1 + (t / 800) ** 5) ** (-1.5 / 5),
        "piecewise": np.interp(x, [x[0], 1.9, 3.2, x[-1]], [0.1, 0.15, 0.9, 0.92]),
    }


@pytest.mark.parametrize("name", ["flat", "sigmoid", "power law", "broken power law", "piecewise"])
def test_the_form_that_made_the_curve_is_the_best_model(name):
    rng = np.random.default_rng(1)
    steps = np.geomspace(10, 30000, 60).round()
    best = []
    for _ in range(6):
        y = forms(np.log10(steps))[name] + 0.006 * rng.standard_normal(len(steps))
        bic = compare_models(make_curve(steps, y, span=1.0))
        assert set(bic) == set(PARAMETERS)
        best.append(best_model(bic)[0])
    assert best.count(name) >= 5


def test_models_with_too_many_parameters_are_left_out():
    bic = compare_models(make_curve([1, 2, 4, 8, 16], [0.1, 0.2, 0.2, 0.6, 0.7]))
    assert set(bic) == {"flat", "power law"}
    assert best_model({}) == (None, pytest.approx(np.nan, nan_ok=True))
