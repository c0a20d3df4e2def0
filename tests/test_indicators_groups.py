"""Scores group by group: they are the plain measures on each group's prompts, and sum to the whole."""

import math

import pytest
from observed import look, native, reordered

import interp
from interp.measure.observe import measure

MEASURES = ["group_accuracy", "group_loss", "exact_match", "log_prob"]


@pytest.fixture(scope="module")
def seen():
    task = interp.task("multitask_parity", n_tasks=4, n_bits=6, subset_size=2)
    return look(native(task), task, MEASURES, n=60)


def values(obs, name):
    rows, failures = measure(obs, [name])
    assert failures == []
    return {row["component"]: row for row in rows}


@pytest.mark.parametrize(
    ("by_group", "whole", "sign"), [("group_accuracy", "exact_match", 1), ("group_loss", "log_prob", -1)]
)
def test_each_group_is_the_plain_measure_on_its_prompts(seen, by_group, whole, sign):
    found = values(seen, by_group)
    member = seen.task.structure.groups(seen.prompts.clean)["subtask"]
    assert set(found) == {f"subtask{i}" for i in member.unique().tolist()}
    total = 0.0
    for name, row in found.items():
        own = (member == int(name.removeprefix("subtask"))).nonzero()[:, 0]
        alone = look(seen.model, seen.task, [whole], prompts=reordered(seen.prompts, own))
        plain = values(alone, whole)[""]
        assert row["value"] == pytest.approx(sign * plain["value"], abs=1e-6)
        assert row["n"] == len(own)
        assert row["stderr"] == pytest.approx(plain["stderr"], abs=1e-6)
        total += row["value"] * row["n"]
    assert total / len(member) == pytest.approx(sign * values(seen, whole)[""]["value"], abs=1e-6)


def test_a_group_is_measured_whoever_else_is_there(seen):
    one = (seen.task.structure.groups(seen.prompts.clean)["subtask"] == 0).nonzero()[:, 0]
    alone = look(seen.model, seen.task, MEASURES, prompts=reordered(seen.prompts, one))
    found = values(alone, "group_accuracy")
    assert set(found) == {"subtask0"}
    assert found["subtask0"]["value"] == pytest.approx(values(seen, "group_accuracy")["subtask0"]["value"])


def test_without_groups_it_is_not_defined():
    task = interp.task("modular_addition", p=7, train_fraction=0.5)
    for name in ("group_accuracy", "group_loss"):
        found = values(look(native(task), task, [name]), name)
        assert set(found) == {""}
        assert math.isnan(found[""]["value"])
        assert found[""]["n"] is None
