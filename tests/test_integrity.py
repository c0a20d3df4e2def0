"""Files that tell when they are not what was written: every flip, every cut; who reads writes nothing; identity of results."""

import json
import re
import shutil
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import yaml

from interp import files
from interp.cli import main
from interp.engine import provenance
from interp.engine.config import parse_experiment
from interp.engine.sweep import run_experiment
from interp.engine.units import expand
from interp.errors import Damaged, InputError
from interp.families import family, read_config, resolve
from interp.families.identity import identity
from interp.families.verification import seal, verify_target
from interp.table import read_table, store

DATA = {"b": [1, 2.5, None], "a": {"c": "é"}}


def written(folder: Path, kind: str) -> Path:
    if kind == "json":
        return files.write_json(folder / "x.json", DATA)
    if kind == "yaml":
        return files.write_yaml(folder / "x.yaml", yaml.safe_dump(DATA))
    return files.write_shard(folder, "abc", b"PAR1 and what a table is made of PAR1")


@pytest.mark.parametrize("kind", ["json", "yaml", "shard"])
def test_every_flipped_bit_and_every_cut_is_damage(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, kind)
    whole = path.read_bytes()
    assert files.state(path) == "sealed"
    for place in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        assert files.state(path) == "damaged", place
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert files.state(path) == "damaged", length


def test_json_and_yaml_read_back_and_stay_readable_for_others(tmp_path: Path) -> None:
    assert files.read_json(written(tmp_path, "json")) == DATA
    assert json.loads((tmp_path / "x.json").read_bytes()).items() >= DATA.items()
    assert yaml.safe_load(files.read_yaml_text(written(tmp_path, "yaml"))) == DATA
    assert yaml.safe_load((tmp_path / "x.yaml").read_text()) == DATA
    assert files.read_json(files.write_json(tmp_path / "list.json", [1, 2])) == [1, 2]


@pytest.mark.parametrize("data", [DATA, [DATA], [], {}, {"entries": [1]}])
def test_what_has_no_seal_is_unsealed_and_is_sealed_as_it_is(data: object, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    assert files.state(path) == "unsealed"
    assert files.read_json(path) == data
    files.seal(path)
    assert files.state(path) == "sealed"
    assert files.read_json(path) == data


def test_a_value_changed_by_a_tool_that_keeps_the_seal_is_damage(tmp_path: Path) -> None:
    path = written(tmp_path, "json")
    data = json.loads(path.read_text())
    data["a"]["c"] = "e"
    path.write_text(json.dumps(data))
    with pytest.raises(Damaged, match=r"x\.json"):
        files.read_json(path)


def test_a_shard_under_another_name_is_another_shard(tmp_path: Path) -> None:
    path = written(tmp_path, "shard")
    other = path.rename(path.with_name(path.name.replace("abc", "abd")))
    assert files.state(other) == "damaged"


def test_what_is_set_aside_is_never_overwritten(tmp_path: Path) -> None:
    places = []
    for content in (b"1", b"2", b"3"):
        (tmp_path / "x").write_bytes(content)
        places.append(files.set_aside(tmp_path / "x"))
    assert [path.read_bytes() for path in places] == [b"1", b"2", b"3"]


def a_run(run: Path, n: int = 3) -> Path:
    """A run directory of n units, with a file of every kind."""
    for step in range(n):
        row = {"run": "r", "step": step, "task": "t", "measure": "m", "component": "", "value": step / 3, "seed": 0}
        store.append(run, [{**row, "kind": "behaviour", "online": True, "key": f"k{step}"}])
    store.write_plan(run, [(f"u{step}", [f"k{step}"]) for step in range(n)])
    store.write_failures(run, "u9", [{"unit": "u9", "task": "", "measure": "", "error": "boom"}])
    files.write_yaml(run / "config.yaml", "name: x\n")
    for name in ("environment.json", "circuits/k0.json", "formation/k0.json", "inherited/k1.k0.json"):
        files.write_json(run / name, DATA)
    return run


FOLDERS = ("shards", "circuits", "formation", "inherited", "failures")


def everything(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


KINDS = ("plan.json", "config.yaml", "environment.json", *(f"{each}/*" for each in FOLDERS))


@pytest.mark.parametrize("pattern", KINDS)
def test_damage_is_named_by_who_reads_and_set_aside_by_who_heals(pattern: str, tmp_path: Path, capsys) -> None:
    run = a_run(tmp_path / "run")
    path = next(run.glob(pattern))
    path.write_bytes(path.read_bytes()[:-7])
    before = everything(run)
    for command in ("verify", "status", "export"):
        assert main([command, str(run)]) == 1
        told = capsys.readouterr()
        assert path.name in told.out + told.err
    assert everything(run) == before  # no file was made, changed or removed
    assert store.heal(run) == [str(path.relative_to(run))]
    assert (path.parent / files.ASIDE / path.name).read_bytes() == before[str(path.relative_to(run))][0]
    assert store.integrity(run) == {"damaged": [], "unsealed": []}
    assert main(["verify", str(run)]) == 0


def test_a_table_with_a_damaged_shard_is_refused_and_its_rows_are_missing(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    shard = store.shards(run)[1]
    frame = pd.read_parquet(shard)
    frame["value"] += 0.25
    frame.to_parquet(shard, index=False)
    with pytest.raises(Damaged, match=shard.name):
        read_table(run)
    assert len(store.keys(run)) == 2
    assert store.status(run)["done"] == 2


def test_a_file_that_may_not_be_read_is_told_in_a_line_and_kept(tmp_path: Path, capsys, monkeypatch) -> None:
    run = a_run(tmp_path)
    shard, read = store.shards(run)[0], Path.read_bytes

    def refused(path: Path) -> bytes:
        if path == shard:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    for command in ("status", "verify", "export"):
        assert main([command, str(run)]) == 1
        told = capsys.readouterr().err
        assert shard.name in told
        assert len(told.splitlines()) == 1
    assert shard.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that takes nothing")
@pytest.mark.parametrize("option", ["--csv", "--parquet"])
def test_a_full_disk_is_told_in_a_line(option: str, tmp_path: Path, capsys) -> None:
    assert main(["export", str(a_run(tmp_path / "run")), option, "/dev/full"]) == 1
    told = capsys.readouterr().err
    assert "/dev/full" in told
    assert told.count("\n") == 1


def test_a_run_without_seals_is_read_named_and_sealed(tmp_path: Path, capsys) -> None:
    run = a_run(tmp_path)
    table = read_table(run)
    for shard in store.shards(run):
        shard.rename(shard.with_name(shard.name.partition("-")[0] + ".parquet"))
    for path in [*run.glob("*.json"), *run.glob("*/*.json")]:
        path.write_text(json.dumps(files.read_json(path), indent=1, sort_keys=True) + "\n")
    (run / "config.yaml").write_text("name: x\n")
    assert main(["verify", str(run)]) == 0
    assert "unsealed" in capsys.readouterr().out
    assert read_table(run).equals(table)
    store.heal(run)
    assert store.integrity(run) == {"damaged": [], "unsealed": []}
    assert read_table(run).equals(table)


# checkpoints


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from interp.families.planned import planned_runs
    from interp.training.grow import grow

    root = tmp_path_factory.mktemp("store")
    recipe = {
        "name": "tiny",
        "task": {"name": "modular_addition", "params": {"p": 5, "train_fraction": 0.6}},
        "model": {"n_layers": 1, "n_heads": 2, "d_head": 4, "d_mlp": 16, "act_fn": "relu"},
        "sizes": {"d8": {"d_model": 8}},
        "seeds": [0],
        "optimizer": {"name": "adamw", "lr": 1e-2},
        "steps": 4,
        "checkpoints": {"every": 2},
    }
    (root / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    for run in planned_runs(root / "tiny.yaml"):
        grow(run, root)
    return root


@pytest.fixture
def root(grown: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(grown, tmp_path / "store"))


def step4(root: Path) -> Path:
    return root / "tiny" / "d8" / "base" / "seed0" / "step4"


def edited(path: Path, change) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


CHANGES = {
    "activation": ("config.json", lambda d: d.update(act_fn="gelu")),
    "heads": ("config.json", lambda d: d.update(n_heads=1, d_head=8)),
    "split": ("manifest.json", lambda d: d["task"].update(split_seed=d["task"]["split_seed"] + 1)),
    "tokens": ("manifest.json", lambda d: d.update(tokens=1)),
    "budget": ("manifest.json", lambda d: d.update(budget=10**6)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_changed_in_a_checkpoint_is_named(what: str, root: Path) -> None:
    name, change = CHANGES[what]
    edited(step4(root) / name, change)
    found = verify_target("tiny", root=root)
    assert any("step4" in problem and name in problem for problem in found["problems"])
    assert verify_target("tiny:d8/base/seed0@step4", root=root)["problems"]
    assert not verify_target("tiny:d8@step2", root=root)["problems"]
    with warnings.catch_warnings(action="ignore"), pytest.raises(Damaged, match=name):
        read_config(resolve("tiny:d8/base/seed0@step4", root=root))


def unseal(root: Path) -> None:
    """As older versions wrote it."""
    for path in root.glob("tiny/**/manifest.json"):
        old = {name: value for name, value in files.read_json(path).items() if name != "files"}
        path.write_text(json.dumps(old, indent=1, sort_keys=True) + "\n")


def test_an_older_store_is_unsealed_until_it_is_sealed_and_keeps_its_keys(root: Path) -> None:
    unseal(root)
    found = verify_target("tiny", root=root)
    assert (found["problems"], len(found["unsealed"])) == ([], 3)
    refs = family("tiny", root=root).refs
    before = [identity(ref) for ref in refs]
    seal(refs)
    assert verify_target("tiny", root=root)["unsealed"] == []
    assert [identity(ref) for ref in family("tiny", root=root).refs] == before
    edited(step4(root) / "config.json", CHANGES["activation"][1])
    assert verify_target("tiny", root=root)["problems"]


def keys(root: Path, **change) -> dict[tuple[str, str, str], str]:
    data = {
        "name": "x",
        "families": ["tiny"],
        "tasks": [{"name": "modular_addition", "n_prompts": 4}],
        "measures": ["exact_match", "update_norm"],
    }
    experiment = parse_experiment({**data, **change})
    units = expand(experiment, root=root)
    return {
        (u.address, experiment.tasks[r.task].label, r.measure.name if r.measure else ""): r.key
        for u in units
        for r in u.results
    }


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_changed_in_an_unsealed_checkpoint_is_another_key(what: str, root: Path, monkeypatch) -> None:
    monkeypatch.setattr("interp.families.verification.seal", lambda refs: refs)
    unseal(root)
    before = keys(root)
    name, change = CHANGES[what]
    edited(step4(root) / name, change)
    after = keys(root)
    changed = {place for place in before if before[place] != after[place]}
    assert {place for place in before if "step4" in place[0]} <= changed
    assert not any("step0" in place[0] for place in changed)


def test_a_tokenizer_beside_the_weights_is_part_of_what_a_checkpoint_is(root: Path) -> None:
    ref = family("tiny", root=root).refs[-1]
    before = identity(ref)
    (step4(root) / "tokenizer.json").write_text("{}")
    identity.cache_clear()
    assert identity(ref) != before


def test_the_same_weights_at_two_addresses_are_two_results(root: Path) -> None:
    """Step 0 of two settings has the same weights, and rows of its own."""
    shutil.copytree(root / "tiny" / "d8" / "base", root / "tiny" / "d8" / "other")
    for path in (root / "tiny" / "d8" / "other").rglob("manifest.json"):
        files.write_json(path, {**files.read_json(path), "setting": "other"})
    found = keys(root)
    assert len(found) == 12
    assert len(set(found.values())) == 12


def test_two_labels_of_one_task_are_two_results(root: Path) -> None:
    task = {"name": "modular_addition", "n_prompts": 4}
    found = keys(root, tasks=[task, {**task, "label": "second"}])
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize("changed", ["own_task.py", "own_helper.py"])
def test_code_of_ones_own_is_part_of_the_key(changed: str, root: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "own_helper.py").write_text("P = 5\n")
    source = "from interp.tasks.modular_addition import modular_addition\nfrom own_helper import P\n\n\n"
    (tmp_path / "own_task.py").write_text(source + "def mine():\n    return modular_addition(p=P)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("own_task", "own_helper"):
        sys.modules.pop(name, None)
    mine = {"tasks": [{"name": "own_task:mine", "n_prompts": 4}]}
    before = keys(root, **mine)
    (tmp_path / changed).write_text((tmp_path / changed).read_text() + "# changed\n")
    after = keys(root, **mine)
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


def test_the_code_that_every_value_goes_through_is_part_of_the_key(root: Path, monkeypatch) -> None:
    before = keys(root)
    monkeypatch.setattr(provenance, "_computing", list)
    assert not set(before.values()) & set(keys(root).values())


def test_an_unknown_target_is_wrong_input(root: Path) -> None:
    for target in ("tinny", "tiny:d9", "tiny:d8@step3"):
        with pytest.raises(InputError):
            verify_target(target, root=root)


def two_seeds(root: Path) -> Path:
    """A second run of the family, and the first with a damaged manifest; returns that."""
    other = Path(shutil.copytree(root / "tiny" / "d8" / "base" / "seed0", root / "tiny" / "d8" / "base" / "seed1"))
    for path in other.rglob("manifest.json"):
        files.write_json(path, {**files.read_json(path), "seed": 1})
    manifest = root / "tiny" / "d8" / "base" / "seed0" / "step2" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    return manifest


def test_a_damaged_manifest_hides_its_own_checkpoint_and_no_other(root: Path) -> None:
    manifest = two_seeds(root)
    with pytest.warns(UserWarning, match=r"step2/manifest\.json"):
        found = family("tiny", root=root)
    assert [(ref.seed, ref.step) for ref in found.refs] == [(0, 0), (0, 4), (1, 0), (1, 2), (1, 4)]
    assert list(found.damaged) == [manifest.parent]
    assert [str(manifest) in problem for problem in verify_target("tiny", root=root)["problems"]] == [True]
    with pytest.warns(UserWarning, match="left out"), pytest.raises(Damaged, match="step2"):
        resolve("tiny:d8/base/seed0@step2", root=root)
    with pytest.warns(UserWarning, match="left out"):
        assert resolve("tiny:d8/base/seed0@step4", root=root).step == 4


@pytest.mark.filterwarnings("ignore:.*manifest.json")
def test_a_run_with_a_damaged_manifest_is_left_out_and_named_until_it_is_well(root: Path, tmp_path: Path) -> None:
    manifest = two_seeds(root)
    experiment = {
        "name": "x",
        "families": ["tiny"],
        "tasks": [{"name": "modular_addition", "n_prompts": 4}],
        "measures": ["exact_match", "update_norm"],
    }
    run = tmp_path / "run"

    def swept() -> dict:
        with ThreadPoolExecutor(1) as executor:
            return run_experiment(parse_experiment(experiment), run, root=root, executor=executor)

    found = swept()
    assert [failure["unit"] for failure in found["failures"]] == ["tiny:d8/base/seed0@step2"]
    assert set(read_table(run)["seed"]) == {1}
    assert main(["status", str(run)]) == 1
    other = root / "tiny" / "d8" / "base" / "seed1" / "step2" / "manifest.json"
    manifest.write_bytes(json.dumps({**files.read_json(other), "seed": 0}).encode())
    assert swept()["failures"] == []
    assert set(read_table(run)["seed"]) == {0, 1}
    assert main(["status", str(run)]) == 0


@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("piece", [128, 129, 300, 1 << 18])
def test_a_list_read_entry_by_entry_is_the_list(n: int, piece: int, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "PIECE", piece)
    entries = [{"unit": f'ü "{i}"', "keys": ["]", "},"] * i, "x": 1.5e3} for i in range(n)]
    path = files.write_json(tmp_path / "sealed.json", entries)
    assert list(files.read_entries(path)) == entries == files.read_json(path)
    for indent in (None, 2):
        path.write_text(json.dumps(entries, indent=indent))
        assert list(files.read_entries(path)) == entries


@pytest.mark.parametrize(
    "text", ["", "[", '[{"a": 1}', '[{"a": 1},', "[1 2", '{"a": [1]}', "null", "[1]x", '{"entries": 3}']
)
def test_what_is_no_list_is_damaged(text: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(Damaged, match=re.escape(str(path))):
        list(files.read_entries(path))
