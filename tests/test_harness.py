"""Harness logs of both layouts, broken ones among them, as a table."""

from __future__ import annotations

import json
import math

import pytest

from interp import InputError
from interp.table import read_table
from interp.table.harness import read_harness


def old_log(step: int, accuracy: float, *, revision: bool = True, **config: object) -> dict:
    args = "pretrained=Lab/tiny-v2-1.4b" + (f",revision=step{step}" if revision else "")
    scores = {"acc": accuracy, "acc_stderr": 0.01, "ppl": 20.0, "ppl_stderr": 0.5}
    return {"results": {"cloze": scores}, "versions": {"cloze": 0}, "config": {"model_args": args, **config}}


def new_log(step: int, accuracy: float) -> dict:
    scores = {
        "alias": "cloze",
        "acc,none": accuracy,
        "acc_stderr,none": 0.02,
        "perplexity,none": 9.0,
        "perplexity_stderr,none": "N/A",
        "exact_match,strict-match": 0.5,
        "exact_match_stderr,strict-match": 0.03,
    }
    return {
        "results": {"cloze": scores},
        "n-samples": {"cloze": {"original": 120, "effective": 100}},
        "n-shot": {"cloze": 0},
        "config": {"model": "hf", "model_args": {"pretrained": "Lab/tiny-70m-seed3", "revision": f"step{step}"}},
    }


def put(folder, name: str, log: object) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(log if isinstance(log, str) else json.dumps(log))


def test_old_layout(tmp_path):
    for step in (0, 1, 1000):
        put(tmp_path, f"tiny/x_step{step}.json", old_log(step, 0.25))
    table = read_table(tmp_path)
    assert len(table) == 3 * 2
    row = table[(table["step"] == 1000) & (table["measure"] == "accuracy")].iloc[0]
    assert (row["run"], row["family"], row["size"], row["n_params"]) == ("tiny-v2-1.4b", "tiny-v2", "1.4b", 1.4e9)
    assert (row["value"], row["stderr"], row["kind"], row["task"]) == (0.25, 0.01, "behaviour", "cloze")
    assert set(table["measure"]) == {"accuracy", "ppl"}


def test_new_layout(tmp_path):
    for step in (0, 512):
        put(tmp_path, f"results_step{step}.json", new_log(step, 0.5))
    table = read_table(tmp_path).set_index(["measure", "step"])
    assert set(table.index.get_level_values(0)) == {"accuracy", "ppl", "exact_match,strict-match"}
    row = table.loc[("accuracy", 512)]
    assert (row["run"], row["seed"], row["setting"], row["size"]) == ("tiny-70m-seed3", 3, "tiny-70m", "70m")
    assert (row["n"], row["stderr"]) == (100, 0.02)
    assert math.isnan(table.loc[("ppl", 0)]["stderr"])


@pytest.mark.parametrize(
    ("name", "step"),
    [("m/step64.json", 64), ("checkpoint-500/results.json", 500), ("m/global_step1000.json", 1000)],
)
def test_step_comes_from_names_where_the_config_is_silent(tmp_path, name, step):
    put(tmp_path, name, old_log(0, 0.5, revision=False))
    assert set(read_harness(tmp_path)["step"]) == {step}


def test_shots_make_another_run_and_a_repeated_file_counts_once(tmp_path):
    put(tmp_path, "a_step1.json", old_log(1, 0.1))
    put(tmp_path, "b_step1.json", old_log(1, 0.2))
    put(tmp_path, "c_step1.json", old_log(1, 0.9, num_fewshot=5))
    table = read_table(tmp_path)
    values = table[table["measure"] == "accuracy"].set_index("run")["value"].to_dict()
    assert values == {"tiny-v2-1.4b": 0.2, "tiny-v2-1.4b/5shot": 0.9}


def test_broken_logs_are_named_and_the_others_read(tmp_path):
    put(tmp_path, "good_step1.json", old_log(1, 0.5))
    put(tmp_path, "truncated_step2.json", json.dumps(old_log(2, 0.5))[:40])
    put(tmp_path, "other.json", {"hello": 1})
    put(tmp_path, "list.json", [1, 2])
    put(tmp_path, "text_step3.json", {"results": "none"})
    put(tmp_path, "nostep.json", old_log(0, 0.5, revision=False))
    with pytest.warns(UserWarning, match="skipped") as caught:
        frame = read_harness(tmp_path)
    assert set(frame["step"]) == {1}
    reasons = {name.rsplit("/", 1)[1]: reason for name, reason in frame.attrs["skipped"].items()}
    assert "broken JSON" in reasons["truncated_step2.json"]
    assert reasons["other.json"] == reasons["list.json"] == reasons["text_step3.json"] == "no 'results'"
    assert "no step" in reasons["nostep.json"]
    assert all(any(name in str(w.message) for w in caught) for name in reasons)


def test_odd_values_are_missing_not_wrong(tmp_path):
    log = old_log(4, 0.5)
    log["results"]["cloze"] |= {"ppl": float("inf"), "flag": True, "note": "x", "acc_stderr": None}
    put(tmp_path, "step4.json", log)
    table = read_table(tmp_path).set_index("measure")
    assert set(table.index) == {"accuracy", "ppl"}
    assert math.isnan(table.loc["ppl", "value"])
    assert math.isnan(table.loc["accuracy", "stderr"])


def test_nothing_to_read_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match="neither a run directory nor harness logs"):
        read_table(tmp_path)
    put(tmp_path, "a.json", "{")
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(InputError, match=r"a\.json: broken JSON"):
        read_table(tmp_path)


GOOD = {
    "results": {"t": {"acc,none": 0.5, "acc_stderr,none": "N/A"}},
    "config": {"model_args": "pretrained=m,revision=step5"},
}
BAD = {
    "truncated": '{"results": {',
    "no results": {"config": {}},
    "results that are a list": {"results": [1], "config": GOOD["config"]},
    "no step": {"results": GOOD["results"], "config": {"model_args": None}},
    "only N/A": {"results": {"t": {"acc,none": "N/A"}}, "config": GOOD["config"]},
    "no scores": {"results": {"t": {}}, "config": GOOD["config"]},
    "a negative error": {"results": {"t": {"acc": 0.5, "acc_stderr": -1}}, "config": GOOD["config"]},
    "no name": {"results": {"t": {"": 0.4}}, "config": GOOD["config"]},
    "a step too large": {"results": GOOD["results"], "config": {"model_args": "pretrained=m,revision=step" + "9" * 30}},
    "a number too large": '{"results": {"t": {"acc": ' + "9" * 400 + '}}, "config": {"model_args": "revision=step5"}}',
    "brackets without end": "[" * 100_000,
}


@pytest.mark.parametrize("what", BAD)
def test_a_broken_log_among_good_ones_is_named_and_costs_only_itself(tmp_path, what):
    put(tmp_path, "good.json", GOOD)
    put(tmp_path, "broken.json", BAD[what])
    with pytest.warns(UserWarning, match=r"skipped .*broken\.json: "):
        table = read_table(tmp_path)
    assert table["value"].tolist() == [0.5]
    (tmp_path / "good.json").unlink()
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(InputError, match=r"broken\.json"):
        read_table(tmp_path)


def test_groups_are_tasks_too(tmp_path):
    log = {**GOOD, "groups": {"g": {"acc,none": 0.25, "acc_stderr,none": 0.1}}}
    log["results"] = {**log["results"], "h": {"part": {"acc": 0.75}}}
    put(tmp_path, "a.json", log)
    table = read_table(tmp_path).set_index("task")["value"]
    assert table.to_dict() == {"t": 0.5, "g": 0.25, "part": 0.75}
