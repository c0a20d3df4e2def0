"""Growing a family: recipes, the bits of a run, kills, and what a store may hold."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import interp
from interp.documents import read_document
from interp.families import read_weights, resolve
from interp.families.planned import PlannedRun
from interp.training import load_recipe, planned_runs, schedule, train
from interp.training.checkpoint import missing_steps, resume_point
from interp.training.fast import loss, scored
from interp.training.grow import grow
from interp.training.optimizer import learning_rate, make_optimizer

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "task": {"name": "modular_addition", "params": {"p": 7, "train_fraction": 0.6}},
    "model": {"architecture": "native", "n_layers": 1, "n_heads": 2, "act_fn": "relu", "normalization_type": None},
    "sizes": {"d4": {"d_model": 4, "d_head": 2, "d_mlp": 8}, "d8": {"d_model": 8, "d_head": 4, "d_mlp": 16}},
    "settings": {
        "base": {},
        "no_weight_decay": {"optimizer": {"weight_decay": 0}},
        "few": {"task": {"train_fraction": 0.2}},
    },
    "seeds": [0, 1],
    "optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 1, "betas": [0.9, 0.98], "warmup": 4},
    "steps": 24,
    "checkpoints": {"log": 4, "every": 6},
}


def files(folder: Path) -> dict[str, str]:
    """The digest of every file under a folder."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def one_run(**changes: Any) -> PlannedRun:
    """The run d4/base/seed0 of the recipe with changes."""
    return planned_runs({**RECIPE, **changes}, sizes=["d4"], settings=["base"], seeds=[0])[0]


@given(steps=st.integers(1, 10_000), log=st.integers(0, 80), every=st.integers(0, 500))
def test_a_schedule_has_both_ends_every_multiple_and_no_repeats(steps: int, log: int, every: int) -> None:
    found = schedule(steps, log=log, every=every)
    assert list(found) == sorted(set(found))
    assert found[0] == 0
    assert found[-1] == steps
    if every:
        assert set(range(0, steps + 1, every)) <= set(found)
    if log > 1:
        assert 1 in found
    assert len(found) <= 2 + log + (steps // every + 1 if every else 0)


def test_a_recipe_expands_to_the_product_or_to_the_runs_it_lists() -> None:
    assert len(planned_runs(RECIPE)) == 2 * 3 * 2
    listed = {**RECIPE, "runs": [{"settings": ["base"]}, {"sizes": ["d4"], "settings": ["few"], "seeds": [0]}]}
    assert [run.name for run in planned_runs(listed)] == [
        "tiny:d4/base/seed0",
        "tiny:d4/base/seed1",
        "tiny:d8/base/seed0",
        "tiny:d8/base/seed1",
        "tiny:d4/few/seed0",
    ]
    assert {run.size for run in planned_runs(RECIPE, sizes=["d8"], seeds=[1])} == {"d8"}


def test_a_setting_is_laid_over_the_recipe() -> None:
    runs = {run.setting: run for run in planned_runs(RECIPE, sizes=["d4"], seeds=[0])}
    assert runs["few"].task["params"]["train_fraction"] == 0.2
    assert runs["few"].task["params"]["p"] == 7
    assert runs["no_weight_decay"].optimizer["weight_decay"] == 0
    assert runs["no_weight_decay"].optimizer["lr"] == 0.01
    assert len({run.digest for run in runs.values()}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stepz": 5}, r"no key 'stepz'; did you mean 'steps'\?"),
        ({"task": {"name": "modular_adition"}}, r"did you mean 'modular_addition'\?"),
        ({"task": {"name": "modular_addition", "params": {"train_fractoin": 0.3}}}, r"did you mean 'train_fraction'\?"),
        ({"optimizer": {"name": "adamw", "weight_dekay": 1}}, r"did you mean 'weight_decay'\?"),
        ({"optimizer": {"name": "adam"}}, "unknown optimizer 'adam'"),
        ({"optimizer": {"name": "adamw", "lr": "fast"}}, "lr is 'fast'"),
        ({"settings": {"base": {"optimiser": {}}}}, r"did you mean 'optimizer'\?"),
        ({"runs": [{"size": ["d4"]}]}, r"did you mean 'sizes'\?"),
        ({"runs": [{"sizes": ["d9"]}]}, "unknown size"),
        ({"steps": 0}, "at least 1"),
        ({"steps": "many"}, "steps is 'many'"),
        ({"batch": "all"}, "batch"),
        ({"seeds": [-1]}, "seeds"),
        ({"sizes": {"a/b": {}}}, "sizes has the name 'a/b'"),
        ({"loss_dtype": "float46"}, r"did you mean 'float64'\?"),
        ({"checkpoints": {"logs": 4}}, r"did you mean 'log'\?"),
        ({"model": {**RECIPE["model"], "d_vocab": 3}}, "vocabulary of 8"),
    ],
)
def test_a_wrong_recipe_is_one_clear_message(change: dict[str, Any], message: str) -> None:
    with pytest.raises(interp.InputError, match=message):
        load_recipe({**RECIPE, **change})


def test_a_model_that_cannot_be_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(interp.InputError, match="n_heds"):
        train({**RECIPE, "model": {**RECIPE["model"], "n_heds": 2}}, root=tmp_path, progress=False)
    assert not any(tmp_path.iterdir())


def test_yaml_is_read_as_people_write_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("lr: 2e-3\nwide: 1E5\nname: e5\nlist: [1e-2, .5]\n")
    assert read_document(path) == {"lr": 0.002, "wide": 1e5, "name": "e5", "list": [0.01, 0.5]}
    path.write_text("lr: 1\nlr: 2\n")
    with pytest.raises(interp.InputError, match="'lr' is given twice"):
        read_document(path)
    with pytest.raises(interp.InputError, match=r"did you mean 'recipe.yaml'\?"):
        read_document(tmp_path / "recipes.yaml")


@pytest.mark.parametrize("batch", ["full", 9])
def test_the_run_is_a_plain_loop(batch: int | str, tmp_path: Path) -> None:
    """The stored weights are those of the loop that anyone would write."""
    from interp.models.native import build
    from interp.seeds import derive

    run = one_run(batch=batch)
    grow(run, tmp_path)
    task = interp.task("modular_addition", p=7, train_fraction=0.6)
    module = build(run.model, seed=derive(0, "init")).train()
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=1, betas=(0.9, 0.98))
    rng = torch.Generator().manual_seed(derive(0, "data"))
    for step in range(24):
        data = task.batch(None if batch == "full" else batch, rng=rng, seed=derive(0, "split"))
        optimizer.param_groups[0]["lr"] = 0.01 * min(1, (step + 1) / 4)
        value = torch.nn.functional.cross_entropy(module(data.tokens)[:, -1].double(), data.targets[:, -1])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    stored = read_weights(resolve("tiny@step24", root=tmp_path))
    for name, value in module.state_dict().items():
        if name.endswith("attn.k.bias"):
            continue  # no output depends on it: its gradient is rounding noise, which Adam makes large
        torch.testing.assert_close(stored[name], value, rtol=1e-5, atol=1e-6)


def test_loss_is_taken_at_scored_positions_in_float64() -> None:
    tokens = torch.zeros(2, 3, dtype=torch.long)
    targets = torch.tensor([[-1, 1, -1], [0, -1, 2]])
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    logits[0, 1] = torch.tensor([0.0, 30.0, 0.0, 0.0])
    found = loss(lambda _: logits, scored(interp.Batch(tokens=tokens, targets=targets)))  # type: ignore[arg-type]
    each = torch.stack([logits[0, 1], logits[1, 0], logits[1, 2]]).double().log_softmax(-1)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, -(each[0, 1] + each[1, 0] + each[2, 2]) / 3)
    assert loss(lambda _: logits[:1, :2], scored(interp.Batch(tokens=tokens[:1], targets=targets[:1]))) > 0  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"name": "adamw", "lr": 0.01, "weight_decay": 1}, {"name": "sgd", "lr": 0.1}])
def test_the_optimiser_is_torches_to_the_bit(options: dict[str, Any]) -> None:
    run = one_run(optimizer=options)
    one, two = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)
    two.load_state_dict(one.state_dict())
    ours = make_optimizer(run, one)
    kind, given = (torch.optim.AdamW, {"fused": True}) if options["name"] == "adamw" else (torch.optim.SGD, {})
    theirs = kind(two.parameters(), **{key: value for key, value in options.items() if key != "name"}, **given)
    assert isinstance(ours, kind)
    for seed in range(5):
        x = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))
        for module, optimizer in ((one, ours), (two, theirs)):
            optimizer.zero_grad()
            module(x).pow(2).sum().backward()
            optimizer.step()
        ours.load_state_dict(ours.state_dict())
        assert torch.equal(one.weight, two.weight)
    assert one.weight.requires_grad


def test_training_imports_no_compiler(tmp_path: Path) -> None:
    code = (
        "import json, sys; from pathlib import Path; from interp.training import planned_runs; from interp.training.grow import grow\n"
        f"grow(planned_runs(json.loads({json.dumps(json.dumps(RECIPE))}))[0], Path({str(tmp_path)!r}))\n"
        "print([name for name in ('torch._dynamo', 'transformer_lens', 'transformers') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_rate_warms_up_linearly_and_stays() -> None:
    run = one_run()
    assert [round(learning_rate(run, step) / 0.01, 6) for step in (0, 1, 3, 4, 20)] == [0.25, 0.5, 1, 1, 1]


def test_a_run_is_the_same_bytes_again_and_leaves_torch_as_found(tmp_path: Path) -> None:
    run = one_run(batch=5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    grow(run, tmp_path / "a")
    torch.manual_seed(123)
    torch.set_rng_state(state)
    grow(run, tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_a_manifest_says_all_that_is_needed_and_no_time(tmp_path: Path) -> None:
    run = one_run()
    grow(run, tmp_path)
    folder = run.folder(tmp_path) / "step24"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert manifest["budget"] == 24
    assert manifest["tokens"] == 24 * round(0.6 * 49) * 3
    assert manifest["task"]["params"]["train_fraction"] == 0.6
    assert manifest["task"]["split_seed"] == manifest["seeds"]["split"]
    assert len(set(manifest["seeds"].values())) == 3
    assert sorted(path.parent.name for path in tmp_path.rglob("resume.safetensors")) == ["step24"]
    assert {path.name for path in (run.folder(tmp_path) / "step6").iterdir()} == {
        "model.safetensors",
        "config.json",
        "manifest.json",
    }


@pytest.mark.parametrize("batch", ["full", 5])
@pytest.mark.parametrize("seed", range(3))
def test_a_run_cut_at_any_write_ends_in_the_same_bytes(batch: int | str, seed: int, tmp_path: Path) -> None:
    """The process is replaced by an exception at the n-th file operation, again and again."""
    import interp.training.checkpoint as checkpoint

    run, rng = one_run(batch=batch), random.Random(seed)
    grow(run, tmp_path / "calm")
    real = checkpoint._replace

    class Cut(Exception):
        pass

    with pytest.MonkeyPatch.context() as patch:
        for _ in range(6):
            left = rng.randrange(1, 14)

            def cut(path: Path, content: bytes) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    path.with_name(path.name + ".partial").write_bytes(content[: len(content) // 2])
                    raise Cut
                real(path, content)

            patch.setattr(checkpoint, "_replace", cut)
            try:
                grow(run, tmp_path / "cut")
            except Cut:
                continue
    grow(run, tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "calm")


def test_what_is_deleted_is_grown_again(tmp_path: Path) -> None:
    run = one_run(batch=5)
    grow(run, tmp_path)
    before = files(tmp_path)
    for lost in ("step6/manifest.json", "step12/model.safetensors", "step24/resume.safetensors", "step24/config.json"):
        (run.folder(tmp_path) / lost).unlink()
    (run.folder(tmp_path) / "step18" / "model.safetensors").write_bytes(b"cut short")
    assert missing_steps(tmp_path, run) == [6, 12, 18, 24]
    grow(run, tmp_path)
    kept = run.folder(tmp_path) / "step18" / "damaged" / "model.safetensors"
    assert kept.read_bytes() == b"cut short"  # set aside, not deleted
    kept.unlink()
    assert files(tmp_path) == before


def test_a_damaged_resume_point_is_not_used(tmp_path: Path) -> None:
    run = one_run()
    grow(run, tmp_path)
    before = files(tmp_path)
    last = run.folder(tmp_path) / "step24"
    (last / "resume.safetensors").write_bytes((last / "resume.safetensors").read_bytes()[:-3])
    assert resume_point(tmp_path, run) is None
    (last / "manifest.json").unlink()
    grow(run, tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 30}, "steps was 24, is 30 now"),
        ({"optimizer": {**RECIPE["optimizer"], "lr": 0.02}}, "optimizer.lr was 0.01, is 0.02 now"),
        ({"task": {"name": "modular_addition", "params": {"p": 5}}}, "task.params.p was 7, is 5 now"),
        ({"model": {**RECIPE["model"], "act_fn": "gelu"}}, "model.act_fn was 'relu', is 'gelu' now"),
    ],
)
def test_two_recipes_do_not_mix_in_a_folder(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    grow(one_run(), tmp_path)
    before = files(tmp_path)
    with pytest.raises(interp.InputError, match=message):
        grow(one_run(**change), tmp_path)
    assert files(tmp_path) == before


def test_a_run_that_diverges_says_so(tmp_path: Path) -> None:
    with pytest.raises(interp.InputError, match=r"tiny:d4/base/seed0: the training loss is (nan|inf)"):
        grow(one_run(optimizer={"name": "sgd", "lr": 1e30}), tmp_path)


PROGRAM = """
import json, sys
from interp.training import planned_runs, train
from interp.training.grow import grow
if __name__ == "__main__":
    recipe, root, workers = json.load(open(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    if workers:
        sys.exit(len(train(recipe, root=root, workers=workers, progress=False)))
    for run in planned_runs(recipe):
        grow(run, root)
"""


def start(recipe: dict[str, Any], root: Path, *, workers: int = 2) -> subprocess.Popen[str]:
    """A process that trains the recipe in a pool, or run after run by itself where `workers` is 0."""
    root.parent.mkdir(parents=True, exist_ok=True)
    program, described = root.parent / "program.py", root.parent / "recipe.json"
    program.write_text(PROGRAM)
    described.write_text(json.dumps(recipe))
    return subprocess.Popen(
        [sys.executable, str(program), str(described), str(root), str(workers)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def kill_and_finish(recipe: dict[str, Any], folder: Path, *, n_kills: int, workers: int, rng: random.Random) -> Path:
    """The store of a training that was killed `n_kills` times (the parent alone, or with its workers), then
    finished."""
    root = folder / "killed"
    for turn in range(n_kills):
        process = start(recipe, root, workers=workers)
        goal = len(list(root.rglob("manifest.json"))) + rng.randint(1, 6)
        while process.poll() is None and len(list(root.rglob("manifest.json"))) < goal:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.01)
        if process.poll() is None:
            (os.killpg if turn % 2 else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
    assert start(recipe, root, workers=workers).wait() == 0
    return root


@pytest.mark.parametrize(("n_kills", "workers"), [(1, 0), pytest.param(10, 2, marks=pytest.mark.slow)])
def test_killed_training_ends_in_the_same_bytes(n_kills: int, workers: int, tmp_path: Path) -> None:
    recipe = {**RECIPE, "steps": 120, "batch": 16, "runs": [{"settings": ["base"], "seeds": [0]}]}
    for run in planned_runs(recipe):
        grow(run, tmp_path / "calm")
    killed = kill_and_finish(recipe, tmp_path, n_kills=n_kills, workers=workers, rng=random.Random(n_kills))
    assert files(killed) == files(tmp_path / "calm")


def test_a_failed_run_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    recipe = {**RECIPE, "settings": {"base": {}, "wild": {"optimizer": {"lr": 1e30}}}, "seeds": [0]}
    recipe["runs"] = [{"sizes": ["d4"]}]
    process = start(recipe, tmp_path / "store")
    _, said = process.communicate()
    assert process.returncode == 1
    assert "tiny:d4/wild/seed0 failed: tiny:d4/wild/seed0: the training loss is nan" in said
    assert missing_steps(tmp_path / "store", planned_runs(recipe, settings=["base"])[0]) == []
