"""The sweep: equal tables whatever the workers, the interruptions or the order; failures named, the others done."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from interp import seeds
from interp.circuits import Circuit
from interp.circuits.formation import track_circuit
from interp.circuits.formation.tracked import chosen_edges
from interp.circuits.testing.faithfulness import of_circuit
from interp.engine.config import parse_experiment
from interp.engine.profile import profiling
from interp.engine.sweep import missing, run_experiment
from interp.engine.units import circuit_key, expand, task_of
from interp.errors import InputError
from interp.families import family, load, read_weights, resolve
from interp.report.formation import formation_data
from interp.report.sources import read_source
from interp.table import read_table, store, write_csv

RECIPE = {
    "name": "tiny",
    "task": {"name": "modular_addition", "params": {"p": 5, "train_fraction": 0.6}},
    "model": {"n_layers": 1, "n_heads": 2, "d_head": 4, "d_mlp": 16, "act_fn": "relu", "normalization_type": None},
    "sizes": {"d8": {"d_model": 8}},
    "seeds": [0, 1],
    "optimizer": {"name": "adamw", "lr": 1e-2, "weight_decay": 1.0},
    "steps": 20,
    "checkpoints": {"log": 6},
}
MEASURES = ["exact_match", "log_prob", "weight_norm", "rankme", "circuit_similarity", "restricted_loss"]


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A folder with a trained tiny family and its experiment file."""
    folder = tmp_path_factory.mktemp("grown")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    experiment = {
        "name": "tiny",
        "families": [{"recipe": "tiny.yaml"}],
        "tasks": [{"name": "modular_addition", "n_prompts": 8}],
        "measures": MEASURES,
        "circuits": {"method": "patching", "every": 2, "n_prompts": 4},
    }
    (folder / "tiny_experiment.yaml").write_text(yaml.safe_dump(experiment))
    from interp.training import train

    assert train(folder / "tiny.yaml", root=folder / "checkpoints", progress=False) == []
    return folder


def experiment_of(grown: Path, **change):
    return parse_experiment({**yaml.safe_load((grown / "tiny_experiment.yaml").read_text()), **change}, base=grown)


def sweep(grown: Path, out: Path, workers: int = 2, **change):
    return run_experiment(experiment_of(grown, **change), out, root=grown / "checkpoints", workers=workers)


def csv(run: Path, to: Path) -> bytes:
    write_csv(read_table(run), to)
    return to.read_bytes()


@pytest.fixture(scope="module")
def undisturbed(grown):
    """The run directory of a sweep that nobody interrupted, and its table."""
    state = sweep(grown, grown / "undisturbed", workers=1)
    assert state["failures"] == []
    assert state["missing"] == []
    return grown / "undisturbed", csv(grown / "undisturbed", grown / "undisturbed.csv")


def test_every_checkpoint_has_every_measure(grown, undisturbed):
    table = read_table(undisturbed[0])
    steps = {tuple(sorted(set(rows["step"]))) for _, rows in table.groupby(["run", "measure"]) if len(rows)}
    assert table["run"].nunique() == 2
    assert set(MEASURES) <= set(table["measure"])
    assert "patching" in set(table["measure"])
    assert max(map(len, steps)) == len({s for group in steps for s in group})
    assert (table.groupby(["run", "step", "measure", "component", "position"], dropna=False).size() == 1).all()


def test_number_of_workers_does_not_matter(grown, undisturbed, tmp_path):
    sweep(grown, tmp_path / "two", workers=2)
    assert csv(tmp_path / "two", tmp_path / "two.csv") == undisturbed[1]


def test_what_is_measured_of_a_setting_is_the_same_alone_and_beside_others(tmp_path):
    """Settings of one size may differ in what no weight shows, and in the number of layers."""
    others = {
        "gelu": {"model": {"act_fn": "gelu"}},
        "deep": {"model": {"n_layers": 2}},
    }
    recipe = {**RECIPE, "seeds": [0], "settings": {"base": {}, **others}, "steps": 4, "checkpoints": {"log": 2}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))

    def table(name, **only):
        experiment = parse_experiment(
            {
                "name": "settings",
                "families": [{"recipe": str(tmp_path / "tiny.yaml"), **only}],
                "tasks": [{"name": "modular_addition", "n_prompts": 8}],
                "measures": ["log_prob", "test_loss"],
            }
        )
        found = run_experiment(experiment, tmp_path / name, root=tmp_path / "checkpoints", workers=1)
        assert not found["failures"]
        rows = read_table(tmp_path / name)
        return rows.set_index(["run", "step", "measure"]).value.sort_index()

    together = table("together")
    alone = [table(setting, settings=[setting]) for setting in ("base", *others)]
    assert together.to_dict() == {where: value for one in alone for where, value in one.items()}
    assert together.groupby(level="run").last().nunique() == 3


def test_a_profiled_sweep_says_where_the_time_goes_and_gives_the_same_table(grown, undisturbed, tmp_path):
    with profiling() as profile:
        sweep(grown, tmp_path / "run", workers=1)
    assert csv(tmp_path / "run", tmp_path / "a.csv") == undisturbed[1]
    told = profile.to_json()
    stages = {"planning", "loading", "observation", "circuits", "store"}
    measures = {f"measure {name}" for name in MEASURES}
    assert stages | measures <= told["seconds"].keys()
    assert all(second >= 0 for second in told["seconds"].values())
    assert sum(profile.seconds.values()) < told["whole"]  # a worker's imports belong to no stage


def test_a_rerun_computes_nothing(grown, undisturbed):
    units = expand(experiment_of(grown), root=grown / "checkpoints")
    assert missing(units, store.keys(undisturbed[0])) == []


def test_a_lost_shard_costs_only_itself(grown, undisturbed):
    run, table = undisturbed
    shard = sorted((run / "shards").glob("*.parquet"))[3]
    shard.unlink()
    units = expand(experiment_of(grown), root=grown / "checkpoints")
    assert len(missing(units, store.keys(run))) == 1
    sweep(grown, run, workers=1)
    assert csv(run, grown / "again.csv") == table


def test_another_parameter_is_another_key(grown, undisturbed):
    there = store.keys(undisturbed[0])
    for change in ({"seed": 1}, {"tasks": [{"name": "modular_addition", "n_prompts": 9}]}):
        units = expand(experiment_of(grown, **change), root=grown / "checkpoints")
        assert len(missing(units, there)) == len(units)


def test_a_failing_unit_is_named_and_the_others_are_done(grown, tmp_path):
    import shutil

    shutil.copytree(grown / "checkpoints", tmp_path / "checkpoints")
    broken = sorted((tmp_path / "checkpoints").glob("tiny/d8/base/seed1/step*/model.safetensors"))[-1]
    broken.write_bytes(broken.read_bytes()[:-64])
    experiment = experiment_of(grown, families=[{"name": "tiny"}], measures=["exact_match"], circuits=None)
    state = run_experiment(experiment, tmp_path / "run", root=tmp_path / "checkpoints", workers=2)
    assert state["done"] == state["units"] - 1
    assert [failure["unit"] for failure in state["failures"]] == state["missing"]
    assert "seed1" in state["missing"][0]
    assert "model.safetensors" in state["failures"][0]["error"]


# a circuit from another run, and what circuits do on other prompts


def referring(grown: Path, address: str, *measures: str):
    circuits = {"method": "patching", "every": 2, "n_prompts": 4, "reference": address}
    return experiment_of(grown, circuits=circuits, measures=["exact_match", *measures])


def keys_of(grown: Path, experiment) -> dict[tuple[str, str], str]:
    """(unit, measure) -> key."""
    units = expand(experiment, root=grown / "checkpoints")
    return {(u.address, r.measure.name if r.measure else ""): r.key for u in units for r in u.results}


def test_another_reference_is_another_key_of_the_measures_that_use_it(grown):
    first, second = (
        keys_of(grown, referring(grown, f"tiny:d8/base/seed1@step{step}", "circuit_transfer", "rankme"))
        for step in (11, 20)
    )
    assert first.keys() == second.keys()
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {(unit, name) for unit, name in first if name == "circuit_transfer" and "seed0" in unit}


def test_a_reference_is_applied_to_the_other_runs_only(grown, tmp_path):
    experiment = referring(grown, "tiny:d8/base/seed1@step20", "circuit_transfer")
    assert {u.ref.seed for u in expand(experiment, root=grown / "checkpoints") if u.reference is not None} == {0}
    state = run_experiment(experiment, tmp_path / "run", root=grown / "checkpoints", workers=1)
    assert state["failures"] == []
    table = read_table(store.read(tmp_path / "run"))
    rows = table[table["measure"] == "circuit_transfer"].sort_values("step")
    assert rows[rows["seed"] == 1]["value"].isna().all()
    model = load(resolve("tiny:d8/base/seed0@step20", root=grown / "checkpoints"))
    key = circuit_key(resolve("tiny:d8/base/seed1@step20", root=grown / "checkpoints"), experiment.tasks[0], experiment)
    stored = [json.loads((tmp_path / "run" / part / f"{key}.json").read_text()) for part in ("circuits", "formation")]
    circuit = chosen_edges(Circuit.from_json(stored[0]), stored[1])
    task, split_seed = task_of(experiment.tasks[0], model.ref)
    prompts = task.prompts(8, rng=seeds.generator(0, "prompts", task.name), seed=split_seed)
    assert rows[rows["seed"] == 0]["value"].iloc[-1] == pytest.approx(of_circuit(model, prompts, circuit), rel=1e-4)


@pytest.mark.parametrize(
    ("circuits", "message"),
    [
        ({"method": "patching"}, "name the checkpoint, as in `circuits: {reference:"),
        ({"reference": "tiny:d8/base/seed1@step19"}, "the nearest is 20"),
        ({"reference": "tiny:d8/base/seed1"}, "leaves out the step"),
    ],
)
def test_a_reference_that_is_missing_is_named(grown, circuits, message):
    with pytest.raises(InputError) as error:
        expand(experiment_of(grown, circuits=circuits, measures=["circuit_transfer"]), root=grown / "checkpoints")
    assert message in str(error.value)


def test_what_was_stored_of_circuits_says_what_the_models_say(grown, undisturbed):
    """The formation of a run from its files is that of its checkpoints, and the last checkpoint has a circuit."""
    found = {key: steps for key, steps in read_source(undisturbed[0]).circuits.items() if key[0].endswith("seed0")}
    ((run, task), trajectory), *others = found.items()
    assert (run, task, others) == ("tiny:d8/base/seed0", "modular_addition", [])
    refs = {ref.step: ref for ref in family("tiny", root=grown / "checkpoints").checkpoints(seed=0)}
    assert max(trajectory) == max(refs)
    model = load(refs[0])
    skill, split_seed = task_of(experiment_of(grown).tasks[0], refs[0])
    prompts = skill.prompts(8, rng=seeds.generator(0, "prompts", skill.name), seed=split_seed)
    states = [(int(step), read_weights(refs[int(step)])) for step in sorted(trajectory)]
    seen = track_circuit(model, states, prompts, method="patching")
    for snap in seen.snapshots:
        stored = trajectory[float(snap.step)]
        assert stored["formation"]["carried"] == snap.carried.tolist()
        assert stored["formation"]["inherited"] == (None if snap.inherited is None else snap.inherited.tolist())
        assert {name for name, _, inside in stored["edges"] if inside} == set(snap.circuit.edges())
    row = formation_data(found, read_table(undisturbed[0])).iloc[0]
    assert row["share"] == seen.share
    assert (seen.interval is None) == bool(np.isnan(row["formed_after"]))


def test_a_lost_circuit_is_found_again_and_the_table_stays(grown, undisturbed):
    run, table = undisturbed
    for folder in ("circuits", "formation"):
        file = sorted((run / folder).glob("*.json"))[0]
        before = file.read_bytes()
        file.unlink()
        if folder == "circuits" and not (run / "formation" / file.name).exists():
            continue  # a circuit that was found only to compare with
        sweep(grown, run, workers=1)
        assert file.read_bytes() == before
        assert csv(run, grown / "again.csv") == table


@pytest.mark.parametrize("n_kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_kills_at_random_moments_leave_the_equal_table(grown, undisturbed, tmp_path, n_kills):
    """`kill -9` of the whole process group while it grows and sweeps, then a rerun: same checkpoints, same table."""
    rng = random.Random(n_kills)
    root, out = tmp_path / "checkpoints", tmp_path / "run"
    command = [sys.executable, "-m", "interp", "run", str(grown / "tiny_experiment.yaml"), "--no-report"]
    command += ["--root", str(root), "--out", str(out), "--workers", "2"]
    for _ in range(n_kills):
        process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(4, 14))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert csv(out, tmp_path / "killed.csv") == undisturbed[1]
    for path in (grown / "checkpoints").rglob("*.safetensors"):
        assert (root / path.relative_to(grown / "checkpoints")).read_bytes() == path.read_bytes()
