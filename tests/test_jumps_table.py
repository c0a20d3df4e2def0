"""From tables to records: artefacts, runs of one setting, curves over size, JSON, and what the whole list must obey."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from interp import InputError
from interp.jumps import Jump, find_jumps, format_jumps, jumps_json, onset
from interp.jumps.curve import Curve
from interp.jumps.null import autoregressive
from interp.jumps.verdict import Limits, Verdict
from interp.table import CURVE

STEPS = np.unique(np.geomspace(10, 30000, 50).round())
X = np.log10(STEPS)


def sigmoid(x, middle, width):
    return 1 / (1 + np.exp(-np.clip((x - middle) * 2 * np.log(9) / width, -50, 50)))


def curve(values, *, run="r", measure="exact_match", steps=STEPS, **columns):
    return pd.DataFrame({"run": run, "step": steps, "task": "t", "measure": measure, "value": values, **columns})


def binomial(p, rng, n=300):
    return np.round(np.clip(p + rng.standard_normal(len(p)) * np.sqrt(p * (1 - p) / n), 0, 1) * n) / n


def smooth_log_prob(kind, rng):
    if kind == "line":
        return -5 + 4.98 * (X - X[0]) / (X[-1] - X[0])
    return -7 + 6.95 * sigmoid(X, rng.uniform(2.3, 2.7), rng.uniform(1.0, 1.6))


def verdict(exact, log_prob, **names):
    both = pd.concat([curve(exact, n=300), curve(log_prob, measure=names.get("companion", "log_prob"))])
    found = find_jumps(both, measures=["exact_match"], **names.get("options", {}))
    return max(found, key=lambda jump: abs(jump.magnitude or 0))


@pytest.mark.parametrize("companion", ["log_prob", "ppl"])
def test_a_power_of_a_smooth_probability_is_an_artefact(companion):
    rng = np.random.default_rng(0)
    right = 0
    for _ in range(10):
        per_token = smooth_log_prob("line", rng)
        exact = binomial(np.exp(rng.uniform(4, 8) * per_token), rng)
        noisy = per_token + 0.02 * rng.standard_normal(len(X))
        jump = verdict(exact, np.exp(-noisy) if companion == "ppl" else noisy, companion=companion)
        right += jump.kind == "artefact" and jump.companion == companion and jump.map == "p^L"
    assert right >= 9


def thresholded(rng, runs, companion, *, level=None):
    """Runs whose exact match is a threshold on a companion that reaches it at its own time."""
    parts = []
    for run in range(runs):
        smooth = companion(rng)
        at = -2.5 if level is None else level
        exact = binomial(0.02 + 0.9 / (1 + np.exp(-(smooth - at) / 0.15)), rng)
        names = {"run": f"r{run}", "setting": "s", "seed": run, "n": 300}
        noisy = smooth + 0.03 * rng.standard_normal(len(X))
        parts += [curve(exact, **names), curve(noisy, measure="log_prob", **names)]
    return find_jumps(pd.concat(parts), measures=["exact_match"])


def late_or_early(rng):
    return -5 + 4.8 * sigmoid(X, rng.uniform(2.2, 3.2), rng.uniform(1.4, 1.8))


def test_a_threshold_that_other_runs_give_makes_an_artefact():
    """The companion crosses one level at another time in each run, and the exact match jumps there."""
    rng = np.random.default_rng(1)
    found = [jump for _ in range(3) for jump in thresholded(rng, 5, late_or_early) if jump.run]
    kinds = [max(0.0, jump.reproduced) >= 0.9 and jump.kind for jump in found]
    assert kinds.count("artefact") >= 0.9 * len(found)


def test_a_threshold_is_undetermined_with_one_run_and_where_a_clock_does_as_well():
    rng = np.random.default_rng(2)
    (alone,) = thresholded(rng, 1, late_or_early)[:1]
    assert alone.kind == "undetermined"
    assert "one run does not tell" in alone.reason
    same = [jump for jump in thresholded(rng, 4, lambda _: -5 + 4.8 * sigmoid(X, 2.7, 1.6)) if jump.run]
    assert all(jump.kind == "undetermined" and "the step alone" in jump.reason for jump in same)


def test_a_margin_is_mapped_by_its_measured_spread():
    """The share of margins above 0 is known where their standard deviation is."""
    rng = np.random.default_rng(3)
    margin, spread = -4 + 6 * (X - X[0]) / (X[-1] - X[0]), 0.25
    from scipy.special import ndtr

    exact = curve(binomial(ndtr(margin / spread), rng), n=300)
    beside = curve(margin, measure="logit_diff", n=300, stderr=spread / np.sqrt(300))
    (jump,) = find_jumps(pd.concat([exact, beside]), measures=["exact_match"])
    assert (jump.kind, jump.map) == ("artefact", "margin")
    wrong = curve(margin, measure="logit_diff", n=300, stderr=20 * spread / np.sqrt(300))
    (jump,) = find_jumps(pd.concat([exact, wrong]), measures=["exact_match"])
    assert (jump.kind, jump.map) != ("artefact", "margin")


@pytest.mark.parametrize("beside", ["clock", "power law", "wide"])
def test_a_real_jump_beside_an_unrelated_smooth_measure_is_no_artefact(beside):
    """Alone and over runs that jump at times of their own."""
    rng = np.random.default_rng(4)
    smooth = {"clock": -X, "power law": 2 + 8 * 10 ** (-0.3 * X), "wide": 5 - 4 * sigmoid(X, 2.7, 1.5)}[beside]
    parts = []
    for run in range(6):
        names = {"run": f"r{run}", "n": 300, "setting": f"s{run // 3}", "seed": run}
        exact = binomial(0.02 + 0.9 * sigmoid(X, rng.uniform(2, 3.7), 0.15), rng)
        noisy = smooth + 0.02 * rng.standard_normal(len(X))
        parts.append(pd.concat([curve(exact, **names), curve(noisy, measure="loss", **names)]))
    kinds = [jump.kind for part in [*parts, pd.concat(parts)] for jump in find_jumps(part, measures=["exact_match"])]
    assert "artefact" not in kinds
    assert kinds[: len(parts)].count("abrupt") >= len(parts) - 1, "a companion that a clock replaces proves nothing"
    other = parts[0].assign(n=parts[0]["n"].where(parts[0]["measure"] == "loss", 150))
    assert find_jumps(other, measures=["exact_match"])[0].companion is None, "not of the same examples"


@pytest.mark.parametrize("seed", range(3))
def test_three_runs_that_jump_a_little_apart_are_no_proof_for_a_loss_that_falls_the_same_in_each(seed):
    """By chance a companion of no information does better than the clock in one run; it has to in every one."""
    rng = np.random.default_rng(seed)
    for task in range(4):
        parts, middle = [], rng.uniform(2.2, 3.5)
        for run in range(3):
            names = {"run": f"r{run}", "n": 500, "setting": "s", "seed": run, "task": f"t{task}"}
            exact = binomial(0.05 + 0.9 * sigmoid(X, middle + 0.1 * rng.standard_normal(), 0.2), rng, n=500)
            loss = 2 + 8 * 10 ** (-0.3 * X) + 0.01 * rng.standard_normal(len(X))
            parts += [curve(exact, **names), curve(loss, measure="loss", **names)]
        assert "artefact" not in [jump.kind for jump in find_jumps(pd.concat(parts), measures=["exact_match"])]


@pytest.mark.parametrize("dip", [0.0, 6.0])
def test_a_jump_of_the_companion_too_is_abrupt(dip):
    """With the dip, one sigmoid over the whole companion would be wide: it must be judged from its trough."""
    rng = np.random.default_rng(2)
    right = 0
    for _ in range(10):
        middle, width = rng.uniform(2.4, 3.6), rng.uniform(0.05, 0.3)
        jump_of_it = sigmoid(X, middle, width)
        log_prob = -4 + 3.95 * jump_of_it - dip * sigmoid(X, middle - 0.8, 0.5) * (1 - jump_of_it)
        noisy = log_prob + 0.05 * rng.standard_normal(len(X))
        jump = verdict(binomial(np.exp(log_prob), rng), noisy)
        right += jump.kind == "abrupt" and jump.companion_kind == "abrupt"
    assert right >= 9


def test_a_companion_that_stands_still_explains_nothing():
    rng = np.random.default_rng(3)
    exact = binomial(0.05 + 0.9 * sigmoid(X, 2.8, 0.1), rng)
    jump = verdict(exact, -2 + 0.05 * rng.standard_normal(len(X)))
    assert (jump.kind, jump.companion_kind) == ("abrupt", "none")


def test_the_companions_are_configurable():
    rng = np.random.default_rng(4)
    log_p = -5 + 4.98 * (X - X[0]) / (X[-1] - X[0])
    table = pd.concat([curve(binomial(np.exp(4 * log_p), rng), n=300), curve(-log_p, measure="surprise_loss", n=300)])
    assert find_jumps(table, measures=["exact_match"])[0].companion is None
    named = find_jumps(table, measures=["exact_match"], companions={"exact_match": ["surprise_loss"]})
    assert named[0].companion == "surprise_loss"


def runs_of(middles, *, width=0.1, height=0.9, seed=5):
    rng = np.random.default_rng(seed)
    return pd.concat(
        [
            curve(binomial(0.05 + height * sigmoid(X, middle, width), rng), run=f"r{i}", n=300, seed=i, setting="s")
            for i, middle in enumerate(middles)
        ]
    )


@pytest.mark.parametrize(
    ("middles", "width", "kind", "jumped"),
    [
        ([1.8, 2.2, 2.6, 3.0, 3.4, 3.8], 0.1, "seed mixture", 6),
        ([2.5, 2.5, 2.5, 99, 99, 99], 0.1, "seed mixture", 3),
        ([2.5, 2.55, 2.6, 2.65], 0.1, "abrupt", 4),
        ([2.5, 2.55, 2.6, 2.65], 1.5, "gradual", 4),
        ([99, 99, 99], 0.1, "none", 0),
    ],
)
def test_runs_of_one_setting_together(middles, width, kind, jumped):
    found = find_jumps(runs_of(middles, width=width))
    together = [jump for jump in found if jump.run == ""]
    assert len(together) == 1
    assert (together[0].kind, together[0].n_jumped, together[0].n_runs) == (kind, jumped, len(middles))
    assert together[0].setting == "s"
    assert len(found) == len(middles) + 1
    if kind == "seed mixture":
        real = [m for m in middles if m < 9]
        assert together[0].step_before <= 10 ** min(real)
        assert together[0].step_after >= 10 ** max(real)
        assert "runs jump" in together[0].reason


def test_runs_are_not_pooled_where_the_table_names_no_setting():
    table = runs_of([2.5, 3.0]).drop(columns=["seed", "setting"])
    assert [jump.run for jump in find_jumps(table)] == ["r0", "r1"]


def sizes(values, measure="exact_match"):
    parameters = 1e6 * 4.0 ** np.arange(len(values))
    return pd.concat(
        [
            curve([0.0, value], run=f"f-{p:g}", measure=measure, steps=[10, 500], n_params=p, family="f", size=f"{p:g}")
            for p, value in zip(parameters, values, strict=True)
        ]
    ), parameters


def test_the_hockey_stick_over_size():
    table, parameters = sizes([0, 0, 0.01, 0, 0.01, 0.02, 0.85, 0.9])
    (jump,) = find_jumps(table, over="size")
    assert (jump.kind, jump.over, jump.run) == ("abrupt", "size", "")
    assert (jump.step_before, jump.step_after) == (parameters[5], parameters[6])
    (last,) = find_jumps(sizes([0, 0, 0.01, 0, 0.01, 0.02, 0.03, 0.9])[0], over="size")
    assert (last.kind, last.step_after) == ("undetermined", parameters[7]), "no spike, but one size shows no plateau"
    assert "abrupt and gradual alike" in last.reason
    (before,) = find_jumps(table, over="size", step=10)
    assert before.kind == "none"


def test_models_of_different_sizes_have_errors_of_their_own():
    """A slow climb that checkpoints of one run might drift through is a change over size; white noise rarely is one."""
    climb, _ = sizes([-9.2, -7.3, -6.6, -5.3, -3.4, -0.7, 0, 0], "log_prob")
    assert find_jumps(climb, over="size", measures=["log_prob"])[0].kind == "gradual"
    drawn = np.random.default_rng(5).uniform(0.2, 0.8, (200, 8))
    p = [onset(range(1, 9), values, measure="accuracy", limits=Limits(dependent=False)).p_value for values in drawn]
    assert np.mean(np.array(p) <= 0.05) <= 0.08


def test_over_size_an_exact_match_of_a_smooth_loss_is_an_artefact():
    smooth = np.linspace(-1.6, -0.02, 10)
    exact, _ = sizes(np.exp(8 * smooth))
    log_prob, _ = sizes(smooth, "log_prob")
    found = find_jumps(pd.concat([exact, log_prob]), over="size", measures=["exact_match"])
    assert [jump.kind for jump in found] == ["artefact"]


def test_over_size_needs_sizes():
    with pytest.raises(InputError, match="n_params"):
        find_jumps(curve(sigmoid(X, 2.5, 0.1)), over="size")
    with pytest.raises(InputError, match="nearest step is 500"):
        find_jumps(sizes([0, 0.1, 0.2])[0], over="size", step=600)


def test_only_behaviour_is_judged_unless_measures_are_named():
    table = pd.concat(
        [
            curve(sigmoid(X, 2.5, 0.1), kind="behaviour"),
            curve(sigmoid(X, 2.5, 0.1), measure="rankme", kind="indicator", component="L0"),
        ]
    )
    assert {jump.measure for jump in find_jumps(table)} == {"exact_match"}
    (jump,) = find_jumps(table, measures=["rankme"])
    assert (jump.measure, jump.component, jump.kind) == ("rankme", "L0", "abrupt")
    with pytest.raises(InputError, match="did you mean 'rankme'"):
        find_jumps(table, measures=["rankmee"])
    with pytest.raises(InputError, match="no row of kind 'behaviour'"):
        find_jumps(table[table["kind"] == "indicator"])
    with pytest.raises(InputError, match="level"):
        find_jumps(table, level=2)
    with pytest.raises(InputError, match="unknown axis"):
        find_jumps(table, over="sise")


def test_perplexities_are_judged_as_logarithms():
    rng = np.random.default_rng(6)
    loss = 12 - 10 * sigmoid(X, 2.6, 1.4) + 0.05 * rng.standard_normal(len(X))
    (jump,) = find_jumps(curve(np.exp(loss), measure="ppl"))
    assert (jump.kind, jump.scale) == ("gradual", "ln")
    assert jump.magnitude == pytest.approx(-10, abs=0.7)
    assert jump.value_before > 1000 * jump.value_after


def test_a_curve_with_noise_is_not_a_jump_for_being_its_own_range():
    """A measure without bounds covers its range by definition; the null must carry the burden."""
    rng = np.random.default_rng(7)
    noise = autoregressive(20, len(X), 0.7, rng)
    table = pd.concat([curve(5 + 0.1 * row, run=f"r{i}", measure="loss") for i, row in enumerate(noise)])
    kinds = [jump.kind for jump in find_jumps(table)]
    assert sum(kind not in ("none", "spike") for kind in kinds) <= 2


def test_json_has_no_nan_and_names_every_curve():
    rng = np.random.default_rng(8)
    table = pd.concat(
        [
            curve(binomial(0.5 + 0 * X, rng), run="flat", position=3),
            curve(binomial(sigmoid(X, 2.5, 0.1), rng), run="jump"),
            curve(np.full(len(X), np.nan), run="missing"),
        ]
    )
    text = json.dumps(jumps_json(find_jumps(table)), allow_nan=False)
    entries = {entry["run"]: entry for entry in json.loads(text)["jumps"]}
    assert {run: entry["kind"] for run, entry in entries.items()} == {
        "flat": "none",
        "jump": "abrupt",
        "missing": "undetermined",
    }
    assert entries["flat"]["position"] == 3
    assert entries["flat"]["step_before"] is None
    assert isinstance(entries["jump"]["step_before"], int)
    assert entries["missing"]["breakthroughness"] is None
    for key in ("run", "task", "measure", "kind", "midpoint", "width_decades", "magnitude", "p_value", "q_value"):
        assert key in entries["jump"]


def test_the_text_is_aligned_and_counts_by_kind():
    table = pd.concat([curve(sigmoid(X, 2.5, 0.1), run="a"), curve(np.full(len(X), 0.2), run="long name")])
    lines = format_jumps(find_jumps(table)).splitlines()
    assert lines[0].split()[:4] == ["run", "task", "measure", "kind"]
    assert len({line.index("exact_match") for line in lines[1:3]}) == 1
    assert lines[-1] == "1 abrupt, 1 none"
    assert len(format_jumps(find_jumps(table), events_only=True).splitlines()) == 3
    assert format_jumps([]).endswith("no curve")


def test_verdicts_do_not_depend_on_the_order_of_rows():
    table = pd.concat([runs_of([2.0, 2.6, 3.1]), curve(-5 + 4 * sigmoid(X, 2.6, 1.0), run="r1", measure="log_prob")])
    again = find_jumps(table.sample(frac=1, random_state=1))
    assert json.dumps(jumps_json(again)) == json.dumps(jumps_json(find_jumps(table)))
    assert [tuple(getattr(jump, name) for name in CURVE) for jump in again if jump.run] == sorted(
        tuple(getattr(jump, name) for name in CURVE) for jump in again if jump.run
    )


def steepest(judged: Curve, limits: Limits) -> Verdict:
    """A third party's detector: it never finds anything."""
    return Verdict(p_value=0.25)


def test_another_detector_is_one_function():
    (jump,) = find_jumps(curve(sigmoid(X, 2.5, 0.1)), detector=f"{__name__}:steepest")
    assert (jump.kind, jump.p_value) == ("none", 0.25)
    with pytest.raises(InputError, match="did you mean 'sigmoid_fit'"):
        find_jumps(curve(sigmoid(X, 2.5, 0.1)), detector="sigmoid_fti")


def test_onset_is_the_first_change():
    values = 0.2 + 0.3 * sigmoid(X, 2.0, 0.1) - 0.4 * sigmoid(X, 3.5, 0.1)
    jump = onset(STEPS, values, span=1.0)
    assert isinstance(jump, Jump)
    assert jump.midpoint == pytest.approx(100, rel=0.1)
    assert jump.magnitude > 0
    spiked = np.full(len(X), 0.2)
    spiked[20] = 0.9
    assert onset(STEPS, spiked, span=1.0).kind == "none"
    assert onset([1, 2], [0, 1]).kind == "undetermined"
