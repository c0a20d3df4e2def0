"""Whoever runs the units: the same table, every checkpoint seen once, and nobody left when the parent is gone."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml

import interp
from interp.engine.config import parse_experiment
from interp.engine.sweep import _as_completed, run_experiment
from interp.table import read_table, store, write_csv

RECIPE = {
    "name": "tiny",
    "task": {"name": "modular_addition", "params": {"p": 5, "train_fraction": 0.6}},
    "model": {"n_layers": 1, "n_heads": 2, "d_head": 4, "d_mlp": 16, "act_fn": "relu", "normalization_type": None},
    "sizes": {"d8": {"d_model": 8}},
    "seeds": [0, 1],
    "optimizer": {"name": "adamw", "lr": 1e-2},
    "steps": 20,
    "checkpoints": {"every": 4},
}
EXPERIMENT = {
    "name": "tiny",
    "families": [{"recipe": "tiny.yaml"}],
    "tasks": [{"name": "modular_addition", "n_prompts": 8}, {"name": "modular_addition", "n_prompts": 6, "label": "b"}],
    "measures": [
        "exact_match",
        "log_prob",
        "cka_previous",
        "distance_from_init",
        "circuit_similarity",
        "final_circuit",
    ],
    "circuits": {"method": "patching", "every": 1, "n_prompts": 4},
}
COMPARED = ["cka_previous", "distance_from_init", "final_circuit"]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grown")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    (folder / "x.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    from interp.training import train

    assert train(folder / "tiny.yaml", root=folder / "checkpoints", progress=False) == []
    return folder


def table(run: Path) -> str:
    return write_csv(read_table(run))


def sweep(grown: Path, out: Path, **options) -> dict:
    return run_experiment(grown / "x.yaml", out, root=grown / "checkpoints", **options)


@pytest.fixture(scope="module")
def pooled(grown: Path) -> str:
    """The table of the built-in pool."""
    state = sweep(grown, grown / "pool", workers=2)
    assert (state["done"], state["units"], state["missing"], state["failures"]) == (12, 12, [], [])
    return table(grown / "pool")


def test_four_threads_give_the_pools_table_and_leave_torch_as_found(grown: Path, pooled: str, tmp_path: Path) -> None:
    before = torch.get_num_threads(), bool(torch.tensor(1e-40) * 1.0 == 0), torch.is_grad_enabled()
    with ThreadPoolExecutor(4) as executor:
        assert sweep(grown, tmp_path / "run", executor=executor, workers=4)["failures"] == []
    assert table(tmp_path / "run") == pooled
    assert before == (torch.get_num_threads(), bool(torch.tensor(1e-40) * 1.0 == 0), torch.is_grad_enabled())


def test_a_thread_without_gradients_gives_the_same_table(grown: Path, pooled: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1, initializer=torch.set_grad_enabled, initargs=(False,)) as executor:
        sweep(grown, tmp_path / "run", executor=executor)
    assert table(tmp_path / "run") == pooled


@pytest.mark.parametrize("tasks", [1, 2])
def test_a_checkpoint_is_loaded_and_observed_once(tasks: int, grown: Path, tmp_path: Path, monkeypatch) -> None:
    """12 checkpoints of 2 runs, each compared with the one before, the first and the last of its run."""
    from interp.measure import observe as observing
    from interp.models import Model

    counts: Counter[str] = Counter()

    def counted(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def count(*args, **options):
            counts[name] += 1
            return original(*args, **options)

        monkeypatch.setattr(owner, name, count)

    counted(Model, "swap")
    counted(observing, "observe")
    change = {"tasks": EXPERIMENT["tasks"][:tasks], "measures": COMPARED}
    experiment = parse_experiment({**EXPERIMENT, **change}, base=grown)
    with ThreadPoolExecutor(1) as executor:
        state = run_experiment(experiment, tmp_path / "run", root=grown / "checkpoints", executor=executor, workers=1)
    assert state["failures"] == []
    assert counts["swap"] <= 12 + 2
    assert counts["observe"] <= tasks * (12 + 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"workers": 1.5}, "workers is 1.5"),
        ({"shard": (2, 2)}, "shard is"),
        ({"shard": (-1, 2)}, "shard is"),
        ({"executor": "dask"}, "executor is a str"),
    ],
)
def test_what_no_sweep_can_be_run_with_is_refused_first(options: dict, said: str, grown: Path, tmp_path: Path) -> None:
    with pytest.raises(interp.InputError, match=said):
        sweep(grown, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


SCRIPT = """
import interp
state = interp.run_experiment("x.yaml", "run", root={root!r}, workers=2)
print(state["done"], state["failures"])
"""
OWN = """
import interp
NEEDS, DIMS, UNIT, ONLINE = {{}}, (), "modules", True
def mine(obs):
    return 1.0
if __name__ == "__main__":
    state = interp.run_experiment("x.yaml", "run", root={root!r}, workers=2)
    print(state["done"], state["failures"])
"""


@pytest.mark.parametrize(("script", "measure"), [(SCRIPT, "log_prob"), (OWN, "__main__:mine")])
def test_a_script_needs_no_guard_unless_a_measure_is_in_it(
    script: str, measure: str, grown: Path, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({**EXPERIMENT, "measures": [measure], "circuits": None}))
    (tmp_path / "script.py").write_text(script.format(root=str(grown / "checkpoints")))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "12 []\n", done.stderr
    assert "Traceback" not in done.stderr


def test_silence_of_an_executor_is_told(monkeypatch, capsys) -> None:
    monkeypatch.setattr("interp.engine.sweep.SILENCE", 0.05)
    lost: Future = Future()
    threading.Timer(0.4, lost.set_result, [[]]).start()
    assert list(_as_completed([lost])) == [lost]
    assert "are there workers left?" in capsys.readouterr().err


def test_entries_that_overlap_are_measured_once(grown: Path, pooled: str, tmp_path: Path) -> None:
    twice = {**EXPERIMENT, "families": [{"recipe": "tiny.yaml", "steps": {"log": 3}}, {"recipe": "tiny.yaml"}]}
    experiment = parse_experiment(twice, base=grown)
    state = run_experiment(experiment, tmp_path / "run", root=grown / "checkpoints")
    assert (state["done"], state["units"]) == (12, 12)
    assert table(tmp_path / "run") == pooled


def test_a_run_that_cannot_be_grown_is_a_failure_and_left_out(grown: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("interp.engine.growing._refuse_early", lambda *_: None)
    failed = {"tiny:d8/base/seed1": "OSError: [Errno 28] No space left on device"}
    monkeypatch.setattr("interp.training.grow_runs", lambda *_, **__: failed)
    state = sweep(grown, tmp_path / "run")
    assert (state["done"], state["units"]) == (6, 6)
    assert [one["unit"] for one in state["failures"]] == list(failed)
    assert "No space left on device" in state["failures"][0]["error"]
    failed["tiny:d8/base/seed0"] = "OSError: as well"
    with pytest.raises(OSError, match=r"not one run could be grown: tiny:d8/base/seed1: .*No space left"):
        sweep(grown, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    failed.clear()
    assert sweep(grown, tmp_path / "run")["failures"] == []


def test_two_parts_of_a_job_array_make_one_table(grown: Path, pooled: str, tmp_path: Path) -> None:
    for part in (0, 1):
        with ThreadPoolExecutor(1) as executor:
            sweep(grown, tmp_path / "run", executor=executor, shard=(part, 2))
    assert table(tmp_path / "run") == pooled


def test_a_run_that_was_damaged_is_the_same_run_again(grown: Path, pooled: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with ThreadPoolExecutor(1) as executor:
        sweep(grown, run, executor=executor)
        names = {str(path.relative_to(run)) for path in run.rglob("*.json")}
        next(run.glob("inherited/*")).unlink()
        for path in (
            store.shards(run)[2],
            next(run.glob("circuits/*")),
            next(run.glob("formation/*")),
            next(run.glob("inherited/*")),
            run / "plan.json",
        ):
            path.write_bytes(path.read_bytes()[:-9])
        sweep(grown, run, executor=executor)
    assert store.integrity(run) == {"damaged": [], "unsealed": []}
    assert table(run) == pooled
    assert len(list(run.rglob("damaged/*"))) == 5
    assert {str(path.relative_to(run)) for path in run.rglob("*.json") if "damaged" not in path.parts} == names


def test_a_run_directory_that_takes_no_more_stops_the_sweep(grown: Path, tmp_path: Path, monkeypatch) -> None:
    from interp.engine import worker

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker.store, "append", full)
    with ThreadPoolExecutor(1) as executor, pytest.raises(OSError, match="No space left"):
        sweep(grown, tmp_path / "run", executor=executor)
    monkeypatch.undo()
    with ThreadPoolExecutor(1) as executor:
        assert sweep(grown, tmp_path / "run", executor=executor)["missing"] == []


def left(session: int) -> list[int]:
    """The processes of a session, zombies left out (Linux: from /proc)."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields and int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are counted in /proc")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(sent: signal.Signals, grown: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "interp", "run", str(grown / "x.yaml"), "--out", str(tmp_path / "run")]
    command += ["--root", str(grown / "checkpoints"), "--workers", "2", "--no-report"]
    parent = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while parent.poll() is None and time.monotonic() < deadline and not list(tmp_path.glob("run/shards/*.parquet")):
        time.sleep(0.05)
    started = time.monotonic()
    os.kill(parent.pid, sent)
    told = parent.communicate(timeout=60)[1]
    assert time.monotonic() - started < 5
    if sent != signal.SIGKILL:
        assert parent.returncode == 130
        assert "the same command goes on from here" in told
        assert "Traceback" not in told
    while left(parent.pid) and time.monotonic() < started + 15:
        time.sleep(0.1)
    assert left(parent.pid) == []


@pytest.mark.slow
def test_dask_with_a_worker_killed_gives_the_pools_table(grown: Path, pooled: str, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    cluster = {"n_workers": 2, "threads_per_worker": 2, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**cluster) as local, distributed.Client(local) as client:
        workers = [worker.process.process.pid for worker in local.workers.values()]

        def kill_one() -> None:
            while not list(tmp_path.glob("run/shards/*.parquet")):
                time.sleep(0.02)
            os.kill(workers[0], signal.SIGKILL)

        killer = threading.Thread(target=kill_one, daemon=True)
        killer.start()
        state = sweep(grown, tmp_path / "run", executor=client.get_executor())
        killer.join(60)
    assert (state["missing"], state["failures"]) == ([], [])
    assert table(tmp_path / "run") == pooled
