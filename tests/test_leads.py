"""The leads protocol as a whole: what it calls leading, what it refuses, and what it must not depend on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from simulate_leads import family

from interp.errors import InputError
from interp.jumps import find_jumps
from interp.leads import (
    Spec,
    align,
    evaluate,
    events,
    forecast,
    format_board,
    lead_times,
    lock,
    rank_leads,
    read_spec,
    split_runs,
)
from interp.report.outcomes import outcomes

QUICK = Spec(permutations=39, shifts=9, bootstraps=300)
SMALL = {"n_settings": 2, "n_seeds": 14, "n_controls": 4, "n_steps": 30}
NAMES = ("lead_step", "synchronous", "lagging", "clock", "setting_only", "noise", "hindsight")
KEYS = {
    "indicator", "leading", "auroc", "coverage_at_far_05", "realised_far", "median_lead", "concordance", "gain",
    "gain_low", "gain_high", "p_fwer", "cost", "n_events", "n_censored", "task", "target", "component", "position",
}  # fmt: skip


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return family(np.random.default_rng(5), indicators=NAMES, **SMALL).assign(cost=2.5)


@pytest.fixture(scope="module")
def board(table: pd.DataFrame):
    return rank_leads(table, spec=QUICK)


def named(rows, name: str) -> dict:
    return next(row for row in rows if row["indicator"] == name)


def test_exactly_the_leading_indicator_is_called_leading(board) -> None:
    assert [row["indicator"] for row in board.leaderboard if row["leading"]] == ["lead_step"]
    assert all(row["leading"] is not True and row["reason"] for row in board.leaderboard[1:])
    words = {True: "leading", False: "not leading", None: "undetermined"}
    for row in board.leaderboard:
        assert row["verdict"] == words[row["leading"]]
        assert (row["runs_needed"] is None) == (row["leading"] is not None)
        assert row["leading"] is not False or row["gain_high"] < 0.1, "said only below a margin"
    lead = board.leaderboard[0]
    assert lead["median_lead"] == pytest.approx(0.5, abs=0.15)
    assert lead["auroc"] > 0.9
    assert lead["concordance"] > 0.75
    assert lead["gain_low"] < lead["gain"] < lead["gain_high"]


def test_every_list_holds_its_own(board) -> None:
    assert {row["indicator"] for row in board.leaderboard} == set(NAMES) - {"hindsight"}
    assert [row["indicator"] for row in board.hindsight] == ["hindsight"]
    assert {row["indicator"] for row in board.baselines} == {
        "step",
        "exact_match",
        "log_prob",
        "train_loss",
        "weight_norm",
    }
    assert all(row["leading"] is None for row in (*board.hindsight, *board.baselines))
    assert board.hindsight[0]["gain"] > 0
    for row in (*board.leaderboard, *board.hindsight, *board.baselines):
        assert set(row) >= KEYS
        assert (row["task"], row["target"], row["component"], row["position"]) == ("sim", "exact_match", "", None)
        assert row["n_events"] + row["n_censored"] == 32
    assert named(board.leaderboard, "noise")["cost"] == 2.5


def test_json_is_json_and_the_text_names_the_winner(board) -> None:
    found = json.loads(json.dumps(board.to_json(), allow_nan=False))
    assert set(found) >= {"leaderboard", "hindsight", "baselines", "spec"}
    assert found["spec"] == QUICK.digest
    assert found["spec"].startswith("sha256:")
    text = format_board(board)
    assert text.startswith("1 of 6 indicators lead the jump: lead_step.")
    assert QUICK.digest in text
    leads = [row for row in board.per_run if row["indicator"] == "lead_step"]
    assert len(leads) == 32
    told = [1 - row["alarm"] / row["T"] for row in leads if np.isfinite(row["T"])]
    np.testing.assert_allclose([row["lead"] for row in leads if np.isfinite(row["T"])], told)


def test_splits_hold_out_settings_and_sizes(board) -> None:
    lead = named(board.leaderboard, "lead_step")
    assert set(lead["splits"]) == {"setting", "size"}
    assert all(scores["gain"] > 0 and scores["coverage"] > 0.5 for scores in lead["splits"].values())
    assert lead["gain_midpoint"] > 0


def test_neither_row_order_nor_what_follows_the_jump_matters(table: pd.DataFrame, board) -> None:
    again = rank_leads(table.sample(frac=1, random_state=0), spec=QUICK)
    assert again.to_json() == board.to_json()
    found = events(table, spec=QUICK).set_index("run")["T"]
    late = (table["kind"] == "indicator") & (table["step"] > table["run"].map(found).fillna(np.inf))
    noise = 50 * np.random.default_rng(0).standard_normal(len(table))
    other = rank_leads(table.assign(value=np.where(late, noise, table["value"])), spec=QUICK)
    for row in board.leaderboard:
        twin = named(other.leaderboard, row["indicator"])
        for key in ("gain", "coverage_at_far_05", "realised_far", "auroc", "concordance"):
            assert twin[key] == pytest.approx(row[key], nan_ok=True, rel=1e-6), (row["indicator"], key)
        assert twin["verdict"] == row["verdict"]


def test_an_indicator_on_other_steps_is_taken_as_it_stood(table: pd.DataFrame, board) -> None:
    """Every second checkpoint of the indicator only, and those a little later than the behaviour's."""
    own = table["measure"] == "lead_step"
    thin = table[~own | (table.groupby(["run", "measure"]).cumcount() % 2 == 0)]
    moved = thin.assign(step=np.where(thin["measure"] == "lead_step", thin["step"] + 1, thin["step"]))
    lead = named(rank_leads(moved, spec=QUICK).leaderboard, "lead_step")
    assert lead["leading"] is True
    assert lead["gain"] < named(board.leaderboard, "lead_step")["gain"] * 1.2


def test_components_and_positions_are_rows_of_their_own(table: pd.DataFrame) -> None:
    lead = table[table["measure"] == "lead_step"]
    noise = table[table["measure"] == "noise"]
    both = pd.concat(
        [
            table[table["kind"] == "behaviour"],
            lead.assign(measure="head", component="L0H1"),
            noise.assign(measure="head", component="L0H2", position=3),
        ]
    )
    rows = rank_leads(both, spec=QUICK).leaderboard
    assert [(row["component"], row["position"], row["leading"]) for row in rows] == [
        ("L0H1", None, True),
        ("L0H2", 3, False),
    ]


def test_two_tasks_share_the_family_and_can_be_held_out(table: pd.DataFrame) -> None:
    part = table[table["measure"].isin(["exact_match", "lead_step", "noise"])]
    other = family(np.random.default_rng(6), indicators=("lead_step", "noise"), **SMALL)
    other = other[other["measure"].isin(["exact_match", "lead_step", "noise"])].assign(task="second")
    lonely = part[part["measure"] == "noise"].assign(task="no target")
    board = rank_leads(pd.concat([part, other, lonely]), spec=QUICK)
    assert {(row["indicator"], row["task"]) for row in board.leaderboard if row["leading"]} == {
        ("lead_step", "sim"),
        ("lead_step", "second"),
    }
    assert board.leaderboard[0]["splits"]["task"]["gain"] > 0
    assert any("no target" in note for note in board.notes)


def test_the_report_and_the_board_count_the_same_events(table: pd.DataFrame) -> None:
    """That a companion calls a jump an artefact takes nothing from the event, and a rise cut off at the end is none."""
    part = table[table["kind"] == "behaviour"]
    late = events(part).set_index("run")["middle"].dropna().idxmax()
    cut = part[(part["run"] != late) | (part["step"] <= 1.3 * events(part).set_index("run")["middle"][late])]
    jumps = find_jumps(cut)
    for found in (jumps, [replace(jump, kind="artefact") if jump.kind == "abrupt" else jump for jump in jumps]):
        told = outcomes(cut, found, "sim", "exact_match").set_index("run")["jumped"]
        assert told.to_dict() == events(cut).set_index("run")["event"].to_dict()


def test_runs_on_shuffled_labels_are_a_null(table: pd.DataFrame) -> None:
    part = table[table["measure"].isin(["exact_match", "lead_step", "clock"])]
    spec = replace(QUICK, permutations=0, shifts=0, shuffled=("s2",))
    rows = rank_leads(part, spec=spec).leaderboard
    assert named(rows, "lead_step")["far_shuffled"] <= 0.5
    assert all(0 <= row["far_shuffled"] <= 1 for row in rows)
    with pytest.raises(InputError, match=r"setting with shuffled labels 's22'.*did you mean 's2'"):
        rank_leads(part, spec=replace(spec, shuffled=("s22",)))


# documented answers


def test_without_kind_leads_refuses(table: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="no column 'kind'"):
        rank_leads(table.drop(columns="kind"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="value"), "no column 'value'"),
        (lambda t: t.assign(value=np.where(t.index == 7, np.inf, t["value"])), "infinite"),
        (lambda t: pd.concat([t, t.head(1)]), "duplicate"),
        (lambda t: t[t["measure"] != "exact_match"], "no behaviour 'exact_match' or 'accuracy'"),
        (lambda t: t.head(0), "no rows"),
    ],
)
def test_a_wrong_table_is_named(table: pd.DataFrame, change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rank_leads(change(table), spec=QUICK)


def test_an_unknown_target_is_named(table: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="did you mean 'exact_match'"):
        rank_leads(table, target="exact_mach")


@pytest.mark.parametrize(
    "case", ["one run", "no events", "all events", "no seeds", "no indicators", "two checkpoints", "nan"]
)
def test_what_the_runs_cannot_tell_is_null_with_its_reason(table: pd.DataFrame, case: str) -> None:
    found = events(table)
    jumped = set(found.loc[found["event"], "run"])
    part = {
        "one run": table[table["run"] == "s0r0"],
        "no events": table[~table["run"].isin(jumped)],
        "all events": table[table["run"].isin(jumped)],
        "no seeds": table.assign(setting=table["run"]),
        "no indicators": table[table["kind"] == "behaviour"],
        "two checkpoints": table[table["step"].isin(sorted(table["step"].unique())[:2])],
        "nan": table.assign(value=np.where(table["measure"] == "lead_step", np.nan, table["value"])),
    }[case]
    board = rank_leads(part, spec=QUICK)
    json.dumps(board.to_json(), allow_nan=False)
    assert format_board(board)
    if case in ("one run", "no events", "no seeds", "two checkpoints"):
        assert all(row["leading"] is None and row["reason"] for row in board.leaderboard)
        assert len(board.leaderboard) == 6
    elif case == "no indicators":
        assert board.leaderboard == ()
    elif case == "all events":
        assert named(board.leaderboard, "lead_step")["n_censored"] == 0
    else:
        lead = named(board.leaderboard, "lead_step")
        assert (lead["leading"], lead["reason"]) == (None, "no finite value in these runs")


def test_a_run_in_progress_is_known_only_so_far(table: pd.DataFrame) -> None:
    found = events(table[(table["run"] != "s0r0") | (table["step"] <= 500)]).set_index("run")
    assert found.loc["s0r0", "budget"] <= 500
    assert not found.loc["s0r0", "event"]
    assert (found["budget"].drop("s0r0") == 10_000).all()


# the first stretch, pre-registration, forecast


def test_lead_times_and_alignment(table: pd.DataFrame) -> None:
    runs = ["s0r0", "s1r1", "s1r2", "s2r0"]
    part = table[table["run"].isin(runs) & table["measure"].isin(["exact_match", "lead_step", "lagging", "noise"])]
    found = lead_times(part).set_index(["run", "indicator"])
    known = events(part).set_index("run")["T"].dropna()
    assert len(found) == 12
    for run in known.index:
        lead = found.loc[(run, "lead_step")]
        assert lead["lead_steps"] == lead["T"] - lead["onset"] > 0
        assert lead["lead"] == pytest.approx(lead["lead_steps"] / known[run])
        assert not found.loc[(run, "lagging"), "lead"] > 0.05
    assert found.loc[("s2r0", "lead_step"), ["T", "lead"]].isna().all()
    together = align(part)
    assert set(together["run"]) == set(known.index)
    at = together[(together["step"] == together["T"])]
    np.testing.assert_allclose(at["relative"], 0, atol=1e-12)


def test_explore_lock_evaluate_once(table: pd.DataFrame, tmp_path) -> None:
    part = table[table["measure"].isin(["exact_match", "lead_step", "noise"])]
    explored, rest = split_runs(part, QUICK)
    assert not set(explored["run"]) & set(rest["run"])
    per_setting = rest.groupby("setting")["run"].nunique()
    assert per_setting.tolist() == [7, 7, 2]
    path = tmp_path / "lock.json"
    digest = lock(path, part, QUICK, indicators=["lead_step"])
    with pytest.raises(InputError, match="already locks"):
        lock(path, part, QUICK)
    board = evaluate(path, part)
    assert board.spec == digest != QUICK.digest
    assert [row["indicator"] for row in board.leaderboard] == ["lead_step"]
    assert evaluate(path, part.sample(frac=1, random_state=1)).to_json() == board.to_json()
    with pytest.raises(InputError, match="evaluated once"):
        evaluate(path, part.assign(value=part["value"] + 1e-3))
    with pytest.raises(InputError, match="no such run"):
        evaluate(path, explored)
    path.write_text(path.read_text().replace('"delta": 0.1', '"delta": 0.2'))
    with pytest.raises(InputError, match="changed after it was locked"):
        evaluate(path, part)


def test_a_spec_file_is_read(tmp_path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("rates: [0.1, 0.2]\nseed: 3\n")
    assert read_spec(path) == Spec(rates=(0.1, 0.2), seed=3)
    path.write_text("- a\n")
    with pytest.raises(InputError, match="holds a list; expected a mapping"):
        read_spec(path)


def test_a_run_in_progress_is_forecast(table: pd.DataFrame) -> None:
    T = events(table).set_index("run")["T"]["s1r3"]
    part = table[(table["run"] != "s1r3") | (table["step"] <= 0.8 * T)]
    told = forecast(part, "s1r3", spec=QUICK)
    json.dumps(told, allow_nan=False)
    assert told["status"] == "in progress"
    assert told["low"] < told["predicted"] < told["high"]
    assert 0.6 < told["predicted"] / T < 1.6
    assert told["p_next"] > 0.6
    assert told["p_by_budget"] > 0.6
    assert "lead_step" in told["series"]
    assert told["now"] <= 0.8 * T
    assert [point["step"] for point in told["points"]] == sorted({point["step"] for point in told["points"]})
    scores = told["calibration"]
    assert scores["p_next"]["brier"] < scores["p_next"]["brier_prevalence"]
    assert abs(scores["interval_coverage"] - scores["level"]) < 0.15
    assert sum(each["n"] for each in scores["p_by_budget"]["bins"]) == scores["p_by_budget"]["n"]


def test_forecast_ignores_the_future_of_the_run_and_knows_jumped_ones(table: pd.DataFrame) -> None:
    whole = forecast(table, "s1r3", spec=QUICK)
    assert whole["status"] == "jumped"
    assert whole["T"] == events(table).set_index("run")["T"]["s1r3"]
    control = forecast(table, "s2r0", spec=QUICK)
    assert control["status"] == "finished without a jump"
    with pytest.raises(InputError, match="did you mean 's1r3'"):
        forecast(table, "s1r33")
    few = forecast(table[table["run"].isin(["s0r0", "s0r1"])], "s0r0", spec=QUICK)
    assert few["predicted"] is None
    assert "are needed" in few["reason"]
