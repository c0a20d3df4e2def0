"""Two different inputs never meet: a folder with pairs of logs that differ in one thing each."""

from __future__ import annotations

import gzip
import json
import math
import warnings
from copy import deepcopy

import pytest

from interp.table import read_table
from interp.table.harness.identity import origin_of
from interp.table.harness.scores import scores_of

LOG = {
    "results": {"arc": {"alias": "arc", "acc,none": 0.5, "acc_stderr,none": 0.01}},
    "versions": {"arc": 1.0},
    "n-shot": {"arc": 0},
    "n-samples": {"arc": {"original": 1000, "effective": 1000}},
    "configs": {
        "arc": {
            "description": "",
            "doc_to_text": "{{question}}",
            "process_docs": "<function f at 0x7e00>",
            "metadata": {"version": 1.0},
        }
    },
    "config": {
        "model": "hf",
        "model_args": {"pretrained": "lab/x-7b", "revision": "step10"},
        "model_sha": "a" * 40,
        "batch_size": 8,
        "limit": None,
        "gen_kwargs": None,
        "random_seed": 0,
        "fewshot_seed": 1234,
    },
    "chat_template": None,
    "system_instruction": None,
    "git_hash": "1234567",
    "date": 1.7e9,
    "total_evaluation_time_seconds": "12",
}


HYPHENS = {"n_shot": "n-shot", "n_samples": "n-samples"}


def changed(**changes: object) -> dict:
    """The log with entries replaced, named as `config__model_args__dtype`."""
    log = deepcopy(LOG)
    for path, value in changes.items():
        *above, last = path.split("__")
        inner = log
        for key in above:
            inner = inner[HYPHENS.get(key, key)]
        inner[HYPHENS.get(last, last)] = value
    return log


MODEL = "config__model_args__"
DIFFERENT = {
    "organisation": {MODEL + "pretrained": "other/x-7b"},
    "folder": {MODEL + "pretrained": "/data/b/x-7b"},
    "model": {MODEL + "pretrained": "lab/x-7b-v2"},
    "adapter": {MODEL + "peft": "/runs/lora/checkpoint-10"},
    "stage": {MODEL + "revision": "stage2-ingredient1-step10-tokens3B"},
    "tokens": {MODEL + "revision": "step10-tokens3B"},
    "step": {MODEL + "revision": "step11"},
    "quantisation": {MODEL + "load_in_4bit": True},
    "precision": {MODEL + "dtype": "float16"},
    "tokenizer": {MODEL + "tokenizer": "lab/y-7b"},
    "window": {MODEL + "max_length": 512},
    "backend": {"config__model": "vllm"},
    "weights behind the revision": {"config__model_sha": "b" * 40},
    "shots": {"n_shot__arc": 5},
    "limit": {"config__limit": 5},
    "a share as limit": {"config__limit": 0.1},
    "sampling": {"config__gen_kwargs": "temperature=0.7"},
    "few-shot seed": {"config__fewshot_seed": 1},
    "chat template": {"chat_template": "{% for m in messages %}"},
    "system instruction": {"system_instruction": "Be brief."},
    "version of the task": {"versions__arc": 2.0},
    "prompt": {"configs__arc__description": "Answer."},
    "limit that only the counts show": {"n_samples__arc__effective": 10},
    "limit beside the configuration": {"limit": 7},
    "seed beside the configuration": {"numpy_seed": 7},
    "shots that only the task's configuration has": {"n_shot": {}, "configs__arc__num_fewshot": 25},
    "shots as text": {"n_shot__arc": "3.0"},
    "shots in a list": {"n_shot": {}, "config__num_fewshot": [2]},
    "how a metric counts": {"configs__arc__metric_list": [{"metric": "acc", "ignore_case": True}]},
    "version in the metadata": {"versions": {}, "configs__arc__metadata__version": 3.0},
    "digest of the examples": {"task_hashes": {"arc": "c" * 64}},
    "arguments in quotes": {"config__model_args": "pretrained='lab/x-7b',revision='step10',peft='runs/q'"},
    "something nobody has heard of": {MODEL + "new_option": "x"},
    "a step in an option nobody has heard of": {MODEL + "lora_weights": "/runs/l/checkpoint-10"},
    "another step there": {MODEL + "lora_weights": "/runs/l/checkpoint-20"},
    "weights and steps that are named twice": {MODEL + "pretrained": "lab/x-7b/checkpoint-20"},
    "a second adapter": {MODEL + "delta": "/runs/d", MODEL + "peft": "/runs/lora/checkpoint-10"},
    "limit that an empty entry hides": {"config__limit": 50, "limit": None},
    "shots in words": {"n_shot__arc": "many"},
    "shots in a longer list": {"n_shot": {}, "config__num_fewshot": [0, 5]},
    "an entry beside the configuration": {"tokenizer_bos_token": ["<s>", "1"]},
    "length in the task's metadata": {"configs__arc__metadata": {"version": 1.0, "length": 8192}},
    "tokens ahead of the step": {MODEL + "revision": "tokens7B-step10"},
    "a folder of the weights": {MODEL + "subfolder": "a/step5"},
}
SAME = {
    "batch size": {"config__batch_size": 1},
    "device": {"config__device": "cuda:1"},
    "date": {"date": 1.8e9},
    "time taken": {"total_evaluation_time_seconds": "99"},
    "remote code": {MODEL + "trust_remote_code": True},
    "where a function lay": {"configs__arc__process_docs": "<function f at 0x7f00>"},
    "a default that is spelled out": {MODEL + "load_in_4bit": False},
    "arguments as a text": {"config__model_args": "pretrained=lab/x-7b,revision=step10"},
}


def read(folder, *logs: dict):
    for index, log in enumerate(logs):
        (folder / f"results_{index}.json").write_text(json.dumps(log))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_table(folder)


@pytest.mark.parametrize("what", DIFFERENT)
def test_logs_that_differ_in_one_thing_are_two_rows(tmp_path, what):
    other = changed(**DIFFERENT[what], results__arc={"acc,none": 0.9})
    for logs in ((LOG, other), (other, LOG)):
        table = read(tmp_path, *logs)
        assert sorted(table["value"]) == [0.5, 0.9]
        assert not table.duplicated(["run", "step", "task", "measure"]).any()


def test_all_pairs_in_one_folder(tmp_path):
    logs = [changed(**difference) for difference in DIFFERENT.values()]
    assert len(read(tmp_path, LOG, *logs)) == len(logs) + 1


@pytest.mark.parametrize("what", SAME)
def test_the_same_input_measured_twice_counts_once(tmp_path, what):
    table = read(tmp_path, LOG, changed(**SAME[what], results__arc={"acc,none": 0.9}))
    assert table["value"].tolist() == [0.9]
    assert table["run"].tolist() == ["x-7b"]


def test_what_belongs_to_a_checkpoint_does_not_part_a_run(tmp_path):
    logs = [
        changed(**{MODEL + "revision": f"step{step}-tokens{step}B", "config__model_sha": str(step) * 40})
        for step in (1, 2, 3)
    ]
    table = read(tmp_path, *logs)
    assert set(table["run"]) == {"x-7b"}
    assert dict(zip(table["step"], table["tokens"], strict=True)) == {1: 1e9, 2: 2e9, 3: 3e9}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lab/Tiny-1.1B-step-50K-105b", ("Tiny-1.1B", 50_000, 105e9)),
        ("lab/Tiny-1.1B-intermediate-step-1431k-3T", ("Tiny-1.1B", 1_431_000, 3e12)),
        ("lab/berts-seed_3-step_20k", ("berts-seed_3", 20_000, math.nan)),
        ("lab/m-7b,revision=stage1-step150-tokens1B", ("m-7b", 150, 1e9)),
        ("lab/m-7b,revision=step150-tokens1B", ("m-7b", 150, 1e9)),
        ("lab/m-1b4,revision=global_step1000", ("m-1b4", 1000, math.nan)),
        ("lab/m-7b,revision=ckpt_000", ("m-7b", 0, math.nan)),
        ("lab/m-7b,revision=step-0002000", ("m-7b", 2000, math.nan)),
        ("/out/run7/iter_0001000", ("run7", 1000, math.nan)),
        ("/out/run7/ep0-ba250", ("ep0", 250, math.nan)),
        ("lab/m-7b,revision=step-1,000", ("m-7b", 1000, math.nan)),
        ("lab/m-7b,revision=step-12,345,678,dtype=float16", ("m-7b", 12_345_678, math.nan)),
        ("lab/m-7b,revision=step1e4", ("m-7b", 10_000, math.nan)),
        ("lab/m-7b,revision=step100_tokens=3T", ("m-7b", 100, 3e12)),
        ("lab/m-7b,revision=tokens-2.5B-step100", ("m-7b", 100, 2.5e9)),
        ("lab/m-7b,revision=step-1000-tokens-1e9", ("m-7b", 1000, 1e9)),
        ("lab/m-7b,revision=step 1000", ("m-7b", 1000, math.nan)),
        ("/out/run7/chkpt-5", ("run7", 5, math.nan)),
        ("lab/pythia-1.4b,revision=step143000", ("pythia-1.4b", 143_000, math.nan)),
        ("lab/base-1b,revision=step9,peft=/runs/r8/checkpoint-100", ("base-1b+r8", 100, math.nan)),
    ],
)
def test_steps_and_tokens_from_the_names_of_public_families(tmp_path, name, expected):
    origin = origin_of({"config": {"model_args": f"pretrained={name}"}}, tmp_path / "a.json", tmp_path)
    assert (origin.name, origin.step) == expected[:2]
    assert origin.tokens == expected[2] or (math.isnan(origin.tokens) and math.isnan(expected[2]))


@pytest.mark.parametrize(
    "name",
    ["lab/m-checkpoint-50B", "lab/m-step-1.5", "lab/m-step1e-3", "lab/m-step_1_000", "lab/m-step" + "9" * 20, "lab/m"],
)
def test_what_names_no_step_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="step"):
        origin_of({"config": {"model_args": f"pretrained={name}"}}, tmp_path / "a.json", tmp_path)


NO_SCORES = (
    *("num_docs", "n_correct", "total_samples", "eval_samples", "total_tokens", "time", "eval_time", "eval_runtime", "elapsed_seconds"),
    *("samples_per_second", "timestamp", "global_step", "epoch", "shots", "num_params", "latency_ms"),
    *("f1_lower", "f1_err", "f1_bootstrap_std", "f1(stderr)", "f1 (±)", "f1_margin_of_error", "f1_confidence_interval"),
    *("f1_standard_error_of_mean", "f1_stderr_clustered", "f1_sterr", "f1_95%_ci", "f1_standard_deviation", "std_f1", "f1_q05"),
    *("n-shot", "walltime", "gpu_hours", "peak_memory_mb", "prompt_tokens", "sample_size", "random_seed", "truncated", "learning_rate"),
)  # fmt: skip


def test_names_that_look_like_counts_and_are_scores():
    names = [
        "bits_per_byte",
        "word_perplexity",
        "error",
        "time_accuracy",
        "n-gram_f1",
        "second_order",
        "count_accuracy",
        *("test_error", "sem_sim", "bleu", "bleu_hi", "rouge_q"),
    ]
    assert {score["measure"] for score in scores_of({}, "t", dict.fromkeys(names, 0.5))} == set(names)


def test_numbers_as_text_are_numbers():
    (score,) = scores_of({}, "t", {"f1": "0.25", "f1_stderr": "0.125", "alias": "x", "acc": " ", "em": "N/A"})
    assert (score["measure"], score["value"], score["stderr"]) == ("f1", 0.25, 0.125)


def test_two_names_of_one_measure_and_percent(tmp_path):
    scores = {"acc": 0.5, "accuracy": "62.5%", "em,none": 0.25}
    found = {score["measure"]: score["value"] for score in scores_of({}, "t", scores)}
    assert found == {"acc": 0.5, "accuracy": 0.625, "exact_match": 0.25}


def test_a_group_beside_the_results_is_not_hidden_by_an_empty_or_another_entry(tmp_path):
    groups = {"groups": {"g": {"acc,none": 0.5}, "h": {"acc,none": 0.6, "alias": "h"}, "k": {"acc,none": 0.7}}}
    results = {"g": {"alias": "g"}, "h": {"acc,none": 0.6, "alias": " - h"}, "k": {"acc,none": 0.8}}
    table = read(tmp_path, {**changed(results=results), **groups})
    assert dict(zip(table["task"], table["value"], strict=True)) == {"g": 0.5, "h": 0.6, "k": 0.8, "groups/k": 0.7}


def test_files_are_found_by_their_kind_and_a_name_that_stands_twice_is_refused(tmp_path):
    text = json.dumps(LOG)
    (tmp_path / "a.JSON").write_text(text)
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(json.dumps(changed(config__limit=5)).encode()))
    (tmp_path / "c.json").write_text(text.replace('"acc,none": 0.5', '"acc,none": 0.5, "acc,none": 0.9'))
    (tmp_path / "d.json.gz").write_bytes(b"\x1f\x8b cut")
    with pytest.warns(UserWarning, match="'acc,none' stands twice") as told:
        table = read_table(tmp_path)
    assert (len(table), len(told)) == (2, 2)


def test_a_rerun_along_with_other_tasks_is_the_same_input(tmp_path):
    other = changed(results__hs={"acc,none": 0.3}, versions__hs=1.0, n_shot__hs=0, results__arc={"acc,none": 0.9})
    assert sorted(read(tmp_path, LOG, other)["value"]) == [0.3, 0.9]


def test_a_task_without_scores_by_measure_is_named(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({**LOG, "results": {"arc": {"acc": 0.5}, "boolq": 0.7, "copa": [0.1]}}))
    with pytest.warns(UserWarning, match="boolq, copa"):
        assert read_table(tmp_path)["task"].tolist() == ["arc"]


def test_a_mean_over_other_tasks_is_another_number(tmp_path):
    def log(tasks: dict[str, float], mean: float) -> dict:
        general = {"config_general": {"model_name": "lab/m-2b", "model_config": {"revision": "step10"}}}
        return {**general, "results": {**{name: {"acc": value} for name, value in tasks.items()}, "all": {"acc": mean}}}

    table = read(tmp_path, log({"x|a|0": 0.2}, 0.2), log({"x|a|0": 0.2, "x|b|0": 0.4}, 0.3))
    assert sorted(table[table["task"] == "all"]["value"]) == [0.2, 0.3]
    assert table[table["task"] == "x|a"]["value"].tolist() == [0.2]

    def group(parts: list[str], value: float) -> dict:
        return changed(results={"mmlu": {"acc,none": value}}, group_subtasks={"mmlu": parts})

    assert len(read(tmp_path, group(["a"], 0.1), group(["a", "b"], 0.2))) == 2


def test_only_scores_are_measures_and_errors_find_their_score():
    scores = {
        **{
            "acc,none": 0.5,
            "acc_stderr,none": 0.1,
            "f1": 0.4,
            "f1_std_err": 0.2,
            "em,strict": 0.3,
            "em_standard_error,strict": 0.3,
        },
        **{
            "bleu": 9.0,
            "stderr(bleu)": 0.4,
            "mcc": 0.1,
            "mcc_se": 0.05,
            "rouge": 0.2,
            "rouge_ci_low": 0.1,
            "rouge_std": 1.0,
        },
        **{"bypass": 999, "samples": 40, "alias": "x", "count": 3, "flag": True, "lone_stderr": 0.1},
        **dict.fromkeys(NO_SCORES, 0.5),
    }
    found = {score["measure"]: score["stderr"] for score in scores_of({}, "t", scores)}
    assert found == {
        "accuracy": 0.1, "f1": 0.2, "exact_match,strict": 0.3, "bleu": 0.4, "mcc": 0.05, "rouge": pytest.approx(math.nan, nan_ok=True)
    }  # fmt: skip
    assert {score["n"] for score in scores_of({}, "t", scores)} == {40}


def test_lighteval_files(tmp_path):
    def log(revision: str, value: float, **general: object) -> dict:
        return {
            "config_general": {
                **{"lighteval_sha": "?", "max_samples": None, "model_name": "lab/m-2b", "model_dtype": "torch.float16"},
                **{"model_config": {"model_name": "lab/m-2b", "revision": revision}, "start_time": value, **general},
            },
            "results": {
                "leaderboard|arc:challenge|25": {"acc": value, "acc_stderr": 0.01},
                "all": {"acc": value, "acc_stderr": 0.01},
            },
            "versions": {"leaderboard|arc:challenge|25": 0},
        }

    table = read(tmp_path, log("step10", 0.1), log("step20", 0.2), log("step20", 0.9, max_samples=10))
    assert len(table) == 6
    row = table[(table["task"] == "leaderboard|arc:challenge") & (table["step"] == 10)].iloc[0]
    assert (row["run"], row["value"], row["stderr"]) == ("m-2b/25shot", 0.1, 0.01)
    assert set(table["run"]) == {"m-2b", "m-2b/25shot", "m-2b/max_samples=10", "m-2b/max_samples=10/25shot"}
    apart = [
        {**log("step10", 0.1), "config_tasks": {"leaderboard|arc:challenge": {"generation_size": n}}} for n in (1, 9)
    ]
    (tmp_path / "apart").mkdir()
    assert len(read(tmp_path / "apart", *apart)) == 3  # the mean over both is the same input
