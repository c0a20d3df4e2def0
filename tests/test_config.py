"""experiment.yaml: what is written comes back, what is wrong is named with the nearest right name."""

import pytest
import yaml

from interp.engine.checks import read_experiment
from interp.engine.config import parse_experiment, resolved
from interp.engine.steps import choose_steps
from interp.errors import InputError

GOOD = {
    "name": "x",
    "families": [{"recipe": "r.yaml", "sizes": ["d8"], "seeds": [0, 1], "steps": {"log": 5}}],
    "tasks": [{"name": "modular_addition", "params": {"p": 5}, "n_prompts": 8}],
    "measures": ["exact_match", {"name": "llc", "draws": 200}],
    "circuits": {"method": "patching", "every": 5},
}


def test_resolved_round_trips():
    experiment = parse_experiment(GOOD)
    again = parse_experiment(yaml.safe_load(yaml.safe_dump(resolved(experiment))))
    assert again == experiment


def test_recipe_is_relative_to_the_file(tmp_path):
    assert parse_experiment(GOOD, base=tmp_path).families[0].recipe == str(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"measure": []}, ["'measure'", "did you mean 'measures'"]),
        ({"families": []}, ["families", "at least one entry"]),
        ({"families": [{"recipe": "a", "hub": "b"}]}, ["exactly one"]),
        ({"families": [{"recipe": "a", "step": "all"}]}, ["'step'", "'steps'"]),
        ({"families": [{"recipe": "a", "steps": {"logg": 3}}]}, ["steps", "{log: n}"]),
        ({"tasks": [{"params": {}}]}, ["'name'"]),
        ({"tasks": "addition"}, ["tasks is 'addition'", "list"]),
        ({"circuits": {"evry": 2}}, ["'evry'", "'every'"]),
        ({"measures": [3]}, ["3"]),
        ({"families": [{"recipe": "a", "seeds": [1, 0, 1]}]}, ["families[0].seeds", "1 is there twice"]),
    ],
)
def test_wrong_input_is_named(change, words):
    with pytest.raises(InputError) as caught:
        parse_experiment({**GOOD, **change})
    for word in words:
        assert word in str(caught.value)


def test_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "grokking.yaml").write_text("{}")
    with pytest.raises(InputError, match=r"did you mean 'grokking\.yaml'"):
        read_experiment(tmp_path / "groking.yaml")


def test_broken_yaml_is_named(tmp_path):
    (tmp_path / "e.yaml").write_text("a: [1")
    with pytest.raises(InputError, match="not valid YAML"):
        read_experiment(tmp_path / "e.yaml")


@pytest.mark.parametrize("n", [1, 2, 7, 30, 500])
def test_log_steps_are_stored_steps_with_both_ends(n):
    stored = [0, 1, 2, 4, 8, *range(10, 400, 10)]
    chosen = choose_steps(stored, {"log": n})
    assert set(chosen) <= set(stored)
    assert chosen == sorted(set(chosen))
    assert {0, 390} <= set(chosen)
    assert len(chosen) <= n + 2 or n >= len(stored)


def test_every_and_lists_of_steps():
    stored = list(range(0, 100, 10))
    assert choose_steps(stored, {"every": 4}) == [0, 40, 80, 90]
    assert choose_steps(stored, [90, 10]) == [10, 90]
    with pytest.raises(InputError, match="step 44 is not stored; the nearest is 40"):
        choose_steps(stored, [44])
