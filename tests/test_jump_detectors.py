"""What every detector must do, whoever wrote it: one test takes in each file of the folder."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from interp.jumps import find_jumps
from interp.jumps.curve import make_curve
from interp.jumps.verdict import Limits, Verdict, kind_of
from interp.plugins import load, names

STEPS = np.unique(np.geomspace(10, 1e5, 45).round())
X = np.log10(STEPS)


def jump_at(middle, width=0.1, seed=0):
    noise = 0.01 * np.random.default_rng(seed).standard_normal(len(X))
    return 0.1 + 0.7 / (1 + np.exp(-(X - middle) * 4.394 / width)) + noise


@pytest.mark.parametrize("name", names("jumps.detectors"))
def test_every_detector_keeps_the_contract(name):
    judge = load("jumps.detectors", name)
    curve = make_curve(STEPS, jump_at(3.0), measure="accuracy")
    before = curve.y.copy()
    verdict = judge(curve, Limits())
    assert isinstance(verdict, Verdict)
    np.testing.assert_array_equal(curve.y, before)
    assert [rise.kind for rise in verdict.rises] == ["abrupt"]
    (rise,) = verdict.rises
    assert X[rise.before] <= 3.0 <= X[rise.after]
    assert rise.low <= rise.midpoint <= rise.high
    assert rise.value_after - rise.value_before == pytest.approx(rise.magnitude)
    assert rise.magnitude == pytest.approx(0.7, abs=0.05)
    again = judge(curve, Limits()).rises[0]
    assert (again.before, again.after, again.magnitude) == (rise.before, rise.after, rise.magnitude)
    mirrored = judge(make_curve(STEPS, -jump_at(3.0), span=1.0), Limits()).rises[0]
    assert (mirrored.before, mirrored.after) == (rise.before, rise.after)
    assert mirrored.magnitude == pytest.approx(-rise.magnitude, rel=1e-6)
    assert judge(make_curve(STEPS, np.full(len(X), 0.4), measure="accuracy"), Limits()).rises == ()
    assert "usable" in (judge(make_curve([1, 2], [0, 1]), Limits()).reason or "")
    wide = judge(make_curve(STEPS, jump_at(3.0, 1.6), measure="accuracy"), Limits()).rises
    assert all(rise.kind != "abrupt" for rise in wide)


@pytest.mark.parametrize("name", names("jumps.detectors"))
def test_every_detector_is_named_in_one_way(name):
    table = pd.DataFrame({"run": "r", "step": STEPS, "task": "t", "measure": "accuracy", "value": jump_at(3.0)})
    (jump,) = find_jumps(table, detector=name)
    assert (jump.kind, jump.reason) == ("abrupt", None)


def test_the_rule_by_the_widths_that_fit():
    limits = Limits()
    assert kind_of(0.1, 0.4, limits, gap=0.1) == ("abrupt", None)
    assert kind_of(0.7, 2.0, limits, gap=0.1) == ("gradual", None)
    kind, reason = kind_of(0.2, np.inf, limits, gap=0.3)
    assert kind == "undetermined"
    assert "the whole range" in reason
    assert "0.3 decades apart" in reason
    assert kind_of(0.1, 0.2, limits, gap=0.1, unfinished="cut off") == ("undetermined", "cut off")
