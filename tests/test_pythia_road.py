"""experiments/pythia.yaml end to end over a small hub: planned, interrupted, resumed; within a disk budget, fetching ahead;
jumps, leads and the page from the table."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import interp
from interp.engine.bench import clear_bench
from interp.engine.checks import read_experiment
from interp.engine.config import Experiment, MeasureSpec, TaskSpec
from interp.engine.planning import plan
from interp.engine.sweep import run_experiment
from interp.engine.units import expand
from interp.families import asking, family, hub, ledger, verify
from interp.measure.questions import evaluate_task
from interp.table import read_table, write_csv
from interp.tasks import _text, task
from interp.tasks._fingerprint import fingerprint
from interp.tasks.induction import WORDS
from tests.loopback_hub import Hub, add_pythia, serving

STEPS = (0, 1, 2)
LANGUAGE = ("ioi", "gendered_pronoun", "subject_verb_agreement")
PYTHIA = Path(__file__).parents[1] / "experiments" / "pythia.yaml"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with two sizes of Pythia, six steps each."""
    folder = tmp_path_factory.mktemp("published")
    spoken = {*WORDS, *(word for name in LANGUAGE for word in task(name).vocab)}
    with serving(Hub()) as server:
        for seed, size in enumerate(("14m", "31m")):
            add_pythia(server, folder, STEPS, size=size, words=[f" {word}" for word in sorted(spoken)], seed=seed)
        yield server


@pytest.fixture
def server(running: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, an empty cache, and no model in memory."""
    import huggingface_hub

    monkeypatch.setenv("HF_ENDPOINT", running.url)
    monkeypatch.setenv("INTERP_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "standard"))
    monkeypatch.setattr(asking, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(_text, "SAMPLE_LOGITS", 2**14)  # small splits, for speed
    clear_bench()
    yield running
    running.faults.clear()
    running.watch = lambda revision, name: None
    ledger.limit_disk(None)


def reduced(**change) -> Experiment:
    """The experiment as it is shipped, but for sizes, steps and the number of prompts."""
    shipped = read_experiment(PYTHIA)
    family = replace(shipped.families[0], sizes=("14m", "31m"), steps=list(STEPS))
    tasks = tuple(replace(task, n_prompts=6) for task in shipped.tasks)
    return replace(shipped, families=(family,), tasks=tasks, **change)


def sweep(experiment: Experiment, out: Path, **options) -> dict:
    """In this process, one checkpoint after the other."""
    with ThreadPoolExecutor(1) as executor:
        return run_experiment(experiment, out, executor=executor, workers=1, **options)


def test_the_whole_road(server: Hub, tmp_path: Path) -> None:
    experiment = reduced()
    needs = plan(experiment, gpu="h100")
    assert (needs["checkpoints"], needs["to_download"], needs["to_train"]) == (6, 6, 0)

    half = sweep(experiment, tmp_path / "run", shard=(0, 2))
    assert (half["done"], len(half["missing"])) == (3, 3), half["failures"]
    resumed = sweep(experiment, tmp_path / "run")
    assert (resumed["done"], resumed["failures"]) == (6, [])
    assert len(list((tmp_path / "run" / "shards").glob("*"))) == 6

    table = read_table(tmp_path / "run")
    assert set(table["task"]) == {task.label for task in experiment.tasks}
    assert set(table["measure"]) == {measure.name for measure in experiment.measures}
    log_prob = table[(table["measure"] == "log_prob")]
    assert log_prob["value"].notna().all()
    assert (log_prob["n"] == 6).all()
    assert (log_prob["stderr"] > 0).all()

    from interp.jumps import find_jumps
    from interp.leads import rank_leads
    from interp.report import write_report

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(find_jumps(tmp_path / "run"))
        rank_leads(tmp_path / "run", target="exact_match")
        assert "pythia" in Path(write_report(tmp_path / "run", None)).read_text()


WAITS = '''"""A measure that says whether the next checkpoint was asked for while this one was measured."""
from threading import Event

NEEDS, DIMS, UNIT, ONLINE = {"logits": "answer"}, (), "share", True
ASKED_FOR = {}

def waits(obs):
    """1 if it was, within ten seconds."""
    following = {0: 1, 1: 2}.get(obs.model.ref.step)
    return float("nan") if following is None else float(ASKED_FOR.setdefault(following, Event()).wait(10))
'''


def one_task(**change) -> Experiment:
    """One size and one task of the experiment, on its first measure."""
    experiment = reduced(**change)
    family = replace(experiment.families[0], sizes=("14m",))
    return replace(experiment, families=(family,), tasks=experiment.tasks[1:2], measures=experiment.measures[:1])


def test_the_next_checkpoint_is_fetched_while_one_is_measured_within_the_disk_budget(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "waiting.py").write_text(WAITS)
    monkeypatch.syspath_prepend(tmp_path)
    import waiting

    size = sum(map(len, server.repos["EleutherAI/pythia-14m"]["step0"].values()))
    budget, most = 1.9 * size, []

    def watch(revision: str, name: str) -> None:
        if name == "model.safetensors":
            waiting.ASKED_FOR.setdefault(int(revision.removeprefix("step")), waiting.Event()).set()
        most.append(ledger._size(hub.hub_cache()) + len(server.repos["EleutherAI/pythia-14m"][revision][name]))

    server.watch = watch
    experiment = one_task(disk_budget_gb=budget / 1e9)
    measures = (replace(experiment.measures[0], name="waiting:waits"),)
    state = sweep(replace(experiment, measures=measures), tmp_path / "run")
    assert state["failures"] == []
    assert max(most) <= budget
    assert read_table(tmp_path / "run").set_index("step")["value"].dropna().to_dict() == {0: 1.0, 1: 1.0}


@pytest.mark.slow
def test_processes_share_the_budget(server: Hub, tmp_path: Path) -> None:
    """Three processes and room for one checkpoint and a half: they wait for each other."""
    size = sum(map(len, server.repos["EleutherAI/pythia-14m"]["step0"].values()))
    most = []
    server.watch = lambda revision, name: most.append(ledger._size(hub.hub_cache()))
    experiment = one_task(disk_budget_gb=1.5 * size / 1e9)
    state = run_experiment(experiment, tmp_path / "run", workers=3)
    assert (state["done"], state["failures"]) == (3, [])
    assert max(most) <= 1.5 * size


def test_faults_of_the_network_do_not_change_the_table(server: Hub, tmp_path: Path) -> None:
    sweep(one_task(), tmp_path / "well")
    clear_bench()
    for path in hub.hub_cache().glob("models--*"):
        shutil.rmtree(path)
    for step, fault in enumerate(("break", "503", "slow")):
        server.faults["EleutherAI/pythia-14m", f"step{step}", "model.safetensors"] = fault
    assert sweep(one_task(), tmp_path / "ill")["failures"] == []
    assert write_csv(read_table(tmp_path / "well")) == write_csv(read_table(tmp_path / "ill"))


def test_a_key_is_made_of_the_weights_even_where_the_hub_keeps_no_digest(server: Hub, tmp_path: Path) -> None:
    def keys() -> list[str]:
        return [result.key for unit in expand(one_task()) for result in unit.results]

    known = keys()
    ledger.path(hub.hub_cache()).unlink()
    for step in STEPS:
        server.faults["EleutherAI/pythia-14m", f"step{step}", "model.safetensors"] = "no digest"
    assert keys() == known


def test_wrong_weights_behind_a_name_are_found_after_a_sweep(server: Hub, tmp_path: Path) -> None:
    files = server.repos["EleutherAI/pythia-14m"]
    right = files["step2"]
    files["step2"] = files["step1"]
    try:
        sweep(one_task(), tmp_path / "run")
        refs = family("pythia").checkpoints(size="14m", setting="base", step=list(STEPS))
        assert verify(refs) == ["pythia:14m/base/seed0: steps 1 and 2 have the same weights"]
    finally:
        files["step2"] = right


def written(folder: Path) -> tuple[TaskSpec, ...]:
    """A task of each kind of file: options and targets, options by group, numbers, open questions."""
    options = {"yes": 1, "no": 0}
    asked = [{"input": f"Is {n} a number?", "target_scores": options, "target": ["yes", "Yes"]} for n in range(5)]
    (folder / "task.json").write_text(json.dumps({"metrics": ["multiple_choice_grade"], "examples": asked}))
    people = [
        {"prompt": f"Person {n} of group {'ab'[n % 2]} will", "answer": [" return", " leave"][n % 3 > 0]}
        | {"options": [" return", " leave"], "group": "ab"[n % 2]}
        for n in range(12)
    ]
    (folder / "people.jsonl").write_text("\n".join(map(json.dumps, people)))
    (folder / "numbers.csv").write_text("prompt,answer\n" + "\n".join(f"Film {n} is rated, {n}" for n in range(6)))
    (folder / "open.jsonl").write_text("\n".join(json.dumps({"prompt": f"Say {n}"}) for n in range(3)))
    (folder / "lengths.py").write_text("def length(prompt, output):\n    return len(output)\n")
    params = {
        "bigbench": {"path": str(folder / "task.json"), "shots": 1},
        "people": {"path": str(folder / "people.jsonl"), "positive": " return", "reference": "b"},
        "numbers": {"path": str(folder / "numbers.csv"), "max_new_tokens": 4},
        "open": {"path": str(folder / "open.jsonl"), "score": "lengths:length", "n_samples": 2, "max_new_tokens": 3},
    }
    return tuple(
        TaskSpec(name=name if name == "bigbench" else "from_file", label=name, params=given, n_prompts=20)
        for name, given in params.items()
    )


FILE_MEASURES = (
    "exact_match", "accuracy", "brier", "log_prob", "answer_prob", "calibration_error", "edit_distance", "rmse",
    "output_score", "false_positive_rate", "false_positive_rate_ratio", "logit_diff", "train_loss", "test_loss",
    "attention_entropy",
)  # fmt: skip


def test_tasks_from_files_are_measured_as_evaluate_measures_them(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    experiment = one_task()
    family = replace(experiment.families[0], steps=[1])
    measures = tuple(MeasureSpec(name=name, params={}) for name in FILE_MEASURES)
    experiment = replace(experiment, families=(family,), tasks=written(tmp_path), measures=measures)
    assert sweep(experiment, tmp_path / "run")["failures"] == []
    rows = read_table(tmp_path / "run").set_index(["task", "measure", "component"])
    model = interp.load("pythia:14m/base@step1")
    renamed = {"accuracy": "multiple_choice_grade", "answer_prob": "prob", "output_score": "score"}
    n_equal = 0
    for spec in experiment.tasks:
        expected = {(row["measure"], row["group"]): row for row in evaluate_task(model, task(spec.name, **spec.params))}
        for name in FILE_MEASURES:
            for group in ("", "a", "b"):
                own = expected.get((renamed.get(name, name), group))
                is_ratio = name == "false_positive_rate_ratio"
                key = (spec.label + (f"/{group}" if group and not is_ratio else ""), name, group if is_ratio else "")
                if own is None or name == "output_score":
                    continue
                assert rows.loc[key, "value"] == pytest.approx(own["value"], rel=1e-5, nan_ok=True), key
                assert rows.loc[key, "stderr"] == pytest.approx(own["stderr"], rel=1e-4, nan_ok=True), key
                assert rows.loc[key, "n"] == own["n"], key
                n_equal += 1
    assert n_equal >= 30
    assert rows.loc[("open", "output_score", ""), "value"] > 0
    undefined = [("people", "train_loss"), ("open", "exact_match"), ("open", "logit_diff"), ("bigbench", "rmse")]
    assert all(math.isnan(rows.loc[(*key, ""), "value"]) for key in undefined)
    assert rows.loc[("people", "false_positive_rate", ""), "n"] == 8


def test_a_change_anywhere_in_the_file_is_another_key(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": f"{n} is", "answer": f" {n}"}) for n in range(300)]
    digests = set()
    for last in (' {"prompt": "x is", "answer": " y"}', ' {"prompt": "x is", "answer": " z"}', lines[0]):
        (tmp_path / "rows.jsonl").write_text("\n".join([*lines, last]))
        digests.add(fingerprint(task("from_file", path=str(tmp_path / "rows.jsonl"))))
    assert len(digests) == 3
    digests.add(fingerprint(task("from_file", path=str(tmp_path / "rows.jsonl"), stop=".")))
    assert len(digests) == 4
