"""How often curves jump: planted shares come back, undetermined stays apart, moderators have a null."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import interp
from interp.cli import main
from interp.errors import InputError
from interp.jumps import find_jumps
from interp.prevalence import format_prevalence, prevalence
from interp.prevalence.curves import levels, scan_parameters
from interp.prevalence.shares import cluster_weights, permutation_p, shares, unconfused

STEP = np.unique(np.r_[0, np.geomspace(1, 10_000, 40).round()].astype(int))


def one(kind: str, rng: np.random.Generator) -> np.ndarray:
    width = {"abrupt": 0.15, "gradual": 1.0, "none": 1.0}[kind]
    size = 0.0 if kind == "none" else rng.uniform(0.4, 0.85)
    at = np.log10(np.maximum(STEP, 0.5)) - rng.uniform(1.4, 2.8)
    return np.clip(0.1 + size / (1 + np.exp(-at * 4.394 / width)) + 0.012 * rng.standard_normal(len(STEP)), 0, 1)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Twelve cells of a scan, two seeds each: eight abrupt, six gradual, ten none; only n of 2 and more jumps."""
    rng, rows = np.random.default_rng(3), []
    kinds = ["none"] * 8 + ["abrupt"] * 8 + ["gradual"] * 6 + ["none"] * 2
    for k, kind in enumerate(kinds):
        task, seed = divmod(k, 2)
        about = {
            "run": f"t{task}s{seed}",
            "task": f"add[n={1 + task // 4},order={'ab'[task % 2]}]" if task < 12 else "?",
        }
        about |= {"seed": seed, "family": "f", "kind": "behaviour", "taught": kind, "room": task}
        about["task"] = f"add[n={1 + task // 4},order={task % 4}]"
        rows.append(pd.DataFrame({**about, "step": STEP, "measure": "accuracy", "value": one(kind, rng)}))
    return pd.concat(rows, ignore_index=True)


@pytest.fixture(scope="module")
def found(table: pd.DataFrame):
    return prevalence(table, n_planted=12, draws=200, jumps=find_jumps(table, models=False))


def share_of(found, kind: str, group: str = "all") -> dict:
    return next(row for row in found.shares if (row["kind"], row["group"]) == (kind, group))


def test_planted_shares_come_back(found) -> None:
    for kind, truth in {"abrupt": 8 / 24, "gradual": 6 / 24, "none": 10 / 24, "jump": 14 / 24}.items():
        row = share_of(found, kind)
        assert row["low"] <= truth <= row["high"]
        assert row["share"] == pytest.approx(truth, abs=0.09)
    assert sum(share_of(found, kind)["share"] for kind in ("abrupt", "gradual", "artefact", "none")) == pytest.approx(1)
    apart = found.undetermined[0]
    assert share_of(found, "none")["n"] == round(24 * (1 - apart["share"]))


def test_power_is_that_of_a_grid_which_sees_them_all(found) -> None:
    power = {row["kind"]: row for row in found.power}
    assert power["abrupt"]["detected"] >= 0.8
    assert power["none"]["missed"] >= 0.8
    for row in found.power:
        assert row["detected"] + row["missed"] + row["undetermined"] == pytest.approx(1)


def test_the_parameter_that_matters_is_told_from_the_one_that_does_not(found) -> None:
    p = {row["moderator"]: row["p"] for row in found.moderators}
    assert p["n"] < 0.05 < p["order"]
    rows = {row["group"]: row["share"] for row in found.moderators if row["moderator"] == "n"}
    assert rows["1"] < 0.2 < rows["2"]


def test_json_and_text(found) -> None:
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert set(data) >= {"shares", "undetermined", "power", "moderators"}
    assert set(data["shares"][0]) >= {"measure", "group", "kind", "share", "low", "high", "n"}
    text = format_prevalence(found)
    assert "gradual" in text
    assert "Cannot be told" in text


def test_any_column_may_be_the_group_and_the_command_says_the_same(table: pd.DataFrame, tmp_path, capsys) -> None:
    part = table[table["room"].isin([0, 4])]
    path = tmp_path / "t.csv"
    part.to_csv(path, index=False)
    told = interp.prevalence(part, by="taught")
    assert {row["group"] for row in told.shares} == {"all", "none", "abrupt"}
    assert main(["prevalence", str(path), "--by", "taught", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(told.to_json()))
    with pytest.raises(InputError, match="unknown column 'taugt'; did you mean 'taught'"):
        prevalence(part, by="taugt", jumps=[])


def test_the_wing_can_be_called_by_its_name() -> None:
    import interp.prevalence

    assert callable(interp.prevalence)
    assert interp.prevalence.prevalence is prevalence or interp.prevalence is prevalence


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_shares_are_recovered_from_exact_counts_whatever_the_confusion(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet([2, 2, 2])
    confusion = 0.25 * rng.dirichlet([1, 1, 1, 1], 3) + 0.75 * np.eye(3, 4)
    seen = 1e5 * truth @ confusion
    np.testing.assert_allclose(unconfused(seen[:-1], confusion, rounds=5000), truth, atol=0.01)


def test_what_cannot_be_told_adds_to_no_kind() -> None:
    curves = pd.DataFrame(
        {"found": ["none"] * 20 + ["undetermined"] * 5, "task": range(25), "family": "", "seed": 0, "run": "r"}
    )
    confusion = np.array([[10.0, 0, 10], [0, 20.0, 0]])
    made = shares(curves, ("abrupt", "none", "undetermined"), confusion, draws=50, rng=np.random.default_rng(0))
    assert made.share.tolist() == [0, 1]
    assert made.n == 20
    assert made.high[0] > 0.05, "none of twenty is not certainly none"


def test_one_task_moves_as_a_whole_in_every_draw() -> None:
    curves = pd.DataFrame({"task": np.repeat(list("abc"), 4), "family": "f", "seed": np.tile(range(4), 3), "run": "r"})
    weight = cluster_weights(curves.assign(seed="0"), 50, np.random.default_rng(0)).reshape(50, 3, 4)
    assert (weight == weight[:, :, :1]).all()
    assert (weight.sum(axis=(1, 2)) == 12).all()
    crossed = cluster_weights(curves, 50, np.random.default_rng(0)).reshape(50, 3, 4)
    assert np.allclose(crossed * crossed.sum(axis=(1, 2), keepdims=True),
                       crossed.sum(axis=1, keepdims=True) * crossed.sum(axis=2, keepdims=True))  # fmt: skip


def test_intervals_over_tasks_cover_where_curves_of_a_task_are_alike() -> None:
    rng, inside = np.random.default_rng(0), 0
    for _ in range(60):
        jumps = rng.random(15) < 0.4
        found = np.where(np.repeat(jumps, 6), "abrupt", "none")
        curves = pd.DataFrame(
            {"found": found, "task": np.repeat(np.arange(15), 6), "family": "", "seed": 0, "run": "r"}
        )
        made = shares(curves, ("abrupt", "none", "undetermined"), 1e6 * np.eye(2, 3), draws=100, rng=rng)
        inside += made.low[0] <= 0.4 <= made.high[0]
    assert inside >= 53


def test_the_null_of_a_moderator_of_tasks_deals_out_whole_tasks() -> None:
    rng, p = np.random.default_rng(1), []
    for _ in range(40):
        found = np.where(np.repeat(rng.random(12) < 0.5, 8), "abrupt", "none")
        curves = pd.DataFrame({"found": found, "task": np.repeat(np.arange(12), 8), "run": np.tile(np.arange(8), 12)})
        group = pd.Series(np.repeat(np.arange(12) % 2, 8)).astype(str)
        p.append(permutation_p(curves, group, draws=99, rng=rng))
    assert np.nanmean(np.array(p) <= 0.1) <= 0.25


def test_levels_and_labels_of_a_scan() -> None:
    assert scan_parameters("addition[n_digits=3,order=plain]") == {"n_digits": "3", "order": "plain"}
    assert scan_parameters("addition") == {}
    assert levels(pd.Series([1.0, 2.0, np.nan, 2.0])).tolist()[:2] == ["1", "2"]
    assert levels(pd.Series(np.arange(100.0))).nunique() == 4
    assert levels(pd.Series(["a", "", "b"])).isna().tolist() == [False, True, False]
