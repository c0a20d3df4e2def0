"""What an experiment would need: counts that can be checked by hand, and nothing trained or fetched."""

import pytest

from interp.engine.config import parse_experiment
from interp.engine.planning import plan
from interp.errors import InputError

RECIPE = {
    "name": "planned_tiny",
    "task": {"name": "modular_addition", "params": {"p": 5, "train_fraction": 0.6}},
    "model": {"n_layers": 1, "n_heads": 2, "d_head": 4, "d_mlp": 16, "act_fn": "relu", "normalization_type": None},
    "sizes": {"d8": {"d_model": 8}},
    "seeds": [0, 1],
    "steps": 20,
    "checkpoints": {"every": 5},
}


def experiment(family, **more):
    tasks = [{"name": "modular_addition", "params": {"p": 5}, "n_prompts": 8}]
    return parse_experiment({"name": "x", "families": [family], "tasks": tasks, "measures": ["exact_match"], **more})


def test_a_recipe_is_counted_and_not_trained(tmp_path):
    import yaml

    (tmp_path / "r.yaml").write_text(yaml.safe_dump(RECIPE))
    found = plan(experiment({"recipe": str(tmp_path / "r.yaml")}), root=tmp_path / "checkpoints", gpu="h100")
    n_params = (
        6 * 8 + 3 * 8 + 4 * (8 * 8) + 4 * 8 + (8 * 16 + 16 + 16 * 8 + 8) + 8 * 6
    )  # embed, pos, q k v o, MLP, unembed
    assert found["runs"] == 2
    assert found["checkpoints"] == 2 * 5
    assert found["to_train"] == 2
    assert found["download_gb"] == 0
    assert found["training_flops"] == 2 * 6 * n_params * 20 * (15 * 3)
    assert found["disk_gb"] == pytest.approx(2 * 5 * 4 * n_params / 1e9)
    assert found["h100"]["hours"] > 0
    assert not (tmp_path / "checkpoints").exists()


def test_a_hub_family_is_planned_without_the_hub(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    family = {"hub": "pythia", "sizes": ["12b"], "settings": ["base"], "steps": [0, 1000]}
    found = plan(experiment(family, dtype="bfloat16"), gpu="a100")
    assert (found["runs"], found["checkpoints"], found["to_download"]) == (1, 2, 2)
    assert found["download_gb"] == pytest.approx(2 * 2 * 11846072320 / 1e9)
    assert found["a100"]["fits_in_memory"]


def test_questions_are_counted_with_what_they_write(tmp_path):
    """Of n questions the model reads each prompt twice (answer and likelihood) and writes at most max_new_tokens."""
    rows = "\n".join(f"q{n:02d} is,{n % 10}" for n in range(40))
    (tmp_path / "rows.csv").write_text("prompt,answer\n" + rows)
    tasks = [{"name": "from_file", "params": {"path": str(tmp_path / "rows.csv"), "max_new_tokens": 5}}]
    family = {"hub": "pythia", "sizes": ["14m"], "settings": ["base"], "steps": [0]}
    found = plan(experiment(family, tasks=tasks))["families"][0]["tasks"]["from_file"]
    prompts = 256 * 6 / 4
    asked = 40 * (2 * 6 + 1 + 5)
    assert found["tokens"] == prompts
    assert found["forward_passes"] == pytest.approx(1 + asked / (256 * 6))


def test_a_disk_budget_bounds_the_disk(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    family = {"hub": "pythia", "sizes": ["12b"], "settings": ["base"], "steps": [0, 1000]}
    found = plan(experiment(family, disk_budget_gb=30))
    assert found["disk_gb"] == pytest.approx(30)
    assert found["download_gb"] > 30
    with pytest.raises(InputError, match="disk_budget_gb is -1"):
        experiment(family, disk_budget_gb=-1)


def test_an_unknown_gpu_is_named():
    with pytest.raises(InputError, match="did you mean 'h100'"):
        plan(experiment({"hub": "pythia"}), gpu="h1000")
