"""What an event is: one rule, read by board, onsets, page, forecast and prevalence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.errors import InputError
from interp.jumps import find_jumps
from interp.leads import Spec, events
from interp.leads.rank import make_panels
from interp.report.outcomes import outcomes
from interp.table import read_table
from interp.table.events import falls, first_event, run_facts, sign_of, target_rows, tick


@pytest.mark.parametrize(
    "measure", ["test_loss", "loss", "ppl", "word_perplexity,none", "brier", "brier_score", "error_rate", "kl_to_bigram",
                "nll", "cross_entropy", "bits_per_byte", "answer_rank", "edit_distance", "rmse", "valLoss"]
)  # fmt: skip
def test_what_falls_as_behaviour_improves(measure: str) -> None:
    assert falls(measure)
    assert sign_of(measure) == -1
    assert sign_of(measure, "up") == 1


@pytest.mark.parametrize(
    "measure", ["exact_match", "accuracy", "log_prob", "logit_diff", "acc_norm,none", "terrain", "glossary", "ranked_accuracy",
                "in_context_score", "f1"]
)  # fmt: skip
def test_what_rises_as_behaviour_improves(measure: str) -> None:
    assert not falls(measure)
    assert sign_of(measure) == 1
    assert sign_of(measure, "down") == -1


def test_another_direction_is_named() -> None:
    with pytest.raises(InputError, match="did you mean 'down'"):
        sign_of("accuracy", "dwn")


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20, unique=True))
def test_steps_on_a_log_axis_are_positive_ordered_and_unchanged_from_the_first_positive_one(steps: list[int]) -> None:
    at = np.sort(np.array(steps, float))
    ticks = tick(at)
    assert (ticks > 0).all()
    assert (np.diff(ticks) > 0).all()
    assert np.array_equal(ticks[at > 0], at[at > 0])


def change(before: float, after: float, magnitude: float = 0.8, **more: Any) -> SimpleNamespace:
    about = {"kind": "abrupt", "midpoint": np.sqrt(max(before, 0.5) * after), "width_decades": 0.2, "span": 1.0}
    about |= {"left_censored": False, "reason": None}
    return SimpleNamespace(**{**about, "step_before": before, "step_after": after, "magnitude": magnitude, **more})


def test_the_first_change_that_counts_is_the_event() -> None:
    """For the worse, below the least magnitude, seen in part, spikes: none of them; then the first of the rest."""
    out = [
        change(10, 20, -0.5), change(20, 30, 0.05), change(1, 2, left_censored=True), change(30, 40, kind="spike"),
    ]  # fmt: skip
    for kind in ("abrupt", "gradual", "artefact", "undetermined"):
        found = first_event([*out, change(100, 300, kind=kind), change(500, 900)], sign=1, last=1000)
        assert (found.T, found.change.kind) == (100, kind)
    assert np.inf == first_event(out, sign=1, last=1000).T
    assert first_event([change(100, 300, -0.5)], sign=-1, last=1000).T == 100


def test_a_rise_cut_off_by_the_last_checkpoint_or_begun_past_the_budget_is_none_but_is_under_way() -> None:
    cut = first_event([change(100, 300)], sign=1, last=300)
    late = first_event([change(100, 300)], sign=1, last=1000, planned=90)
    assert cut.T == late.T == np.inf
    assert cut.centre == late.centre == pytest.approx(np.log10(np.sqrt(30000)))
    assert "under way" in cut.reason
    assert "budget" in late.reason


def runs(measure: str, value: Any, **more: Any) -> pd.DataFrame:
    step = np.unique(np.r_[0, np.geomspace(1, 10_000, 45).round()].astype(int))
    parts = []
    for run in range(6):
        rise = 1 / (1 + np.exp(-(np.log10(np.maximum(step, 0.5)) - 2.0 - 0.15 * run) / 0.05))
        noise = 0.004 * np.random.default_rng(run).standard_normal(len(step))
        about = {
            "run": f"r{run}",
            "task": "t",
            "setting": "a",
            "seed": run,
            "step": step,
            "measure": measure,
            "kind": "behaviour",
        }
        parts.append(pd.DataFrame({**about, "value": value(rise, run) + noise, **more}))
    return pd.concat(parts, ignore_index=True)


CURVES = {
    "a share": ("exact_match", lambda rise, run: 0.9 * rise * (run != 3)),
    "a small share": ("accuracy", lambda rise, run: (0.15 if run % 2 else 0.05) * rise),
    "a loss": ("test_loss", lambda rise, run: 4 - 3.8 * rise * (run != 3)),
    "a loss that gets worse": ("test_loss", lambda rise, run: 1 + 3 * rise),
    "a score without bounds": ("log_prob", lambda rise, run: -5 + (4 if run < 3 else 0.2) * rise),
    "a perplexity": ("ppl", lambda rise, run: np.exp(9 - 6 * rise * (run > 1))),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("spec", [{}, {"min_magnitude": 0.4}, {"direction": "up"}], ids=str)
def test_board_onsets_and_page_count_the_same_events(name: str, spec: dict[str, Any]) -> None:
    measure, value = CURVES[name]
    table = read_table(runs(measure, value, budget=4000))
    jumps = find_jumps(table, models=False)
    spec = {"target": measure, **spec}
    board = make_panels(table, Spec(**spec))[0][0]
    onsets = events(table, spec=spec).set_index("run")
    page = outcomes(table, jumps, "t", measure, spec=spec).set_index("run")
    assert dict(zip(board.runs, board.event, strict=True)) == onsets["event"].to_dict() == page["jumped"].to_dict()
    told = make_panels(table, Spec(**spec), jumps)[0][0]
    np.testing.assert_allclose(told.T, board.T)
    if name in ("a loss", "a share") and spec.get("direction") != "up":
        assert onsets["event"].sum() == 5


def test_what_a_run_is_known_by() -> None:
    table = runs("accuracy", lambda rise, run: rise)
    facts = run_facts(target_rows(read_table(table[table["run"] != "r1"]), "t", "accuracy"))
    assert (facts["planned"] == 10_000).all(), "without a budget, the longest run of the setting"
    assert (facts["first_step"] == 0.5).all()
