"""The store: append-only, whole files, only what the present plan names."""

import pytest

from interp.errors import InputError
from interp.table import store


def row(key, step=1, **more):
    return {"run": "r", "step": step, "task": "t", "measure": "m", "component": "", "value": 0.5, "key": key, **more}


def planned(run, *keys):
    store.write_plan(run, [(f"u{key}", [key]) for key in keys])


def test_rows_come_back_in_order_whatever_the_order_of_writing(tmp_path):
    for name, order in (("a", [3, 1, 2]), ("b", [2, 3, 1])):
        planned(tmp_path / name, "k1", "k2", "k3")
        for step in order:
            store.append(tmp_path / name, [row(f"k{step}", step)])
    assert store.read(tmp_path / "a").equals(store.read(tmp_path / "b"))
    assert list(store.read(tmp_path / "a")["step"]) == [1, 2, 3]


def test_rows_outside_the_plan_are_kept_and_not_shown(tmp_path):
    planned(tmp_path, "new")
    store.append(tmp_path, [row("old")])
    store.append(tmp_path, [row("new", 2)])
    assert list(store.read(tmp_path)["key"]) == ["new"]
    planned(tmp_path, "old")
    assert list(store.read(tmp_path)["key"]) == ["old"]


def test_a_broken_shard_counts_as_absent(tmp_path):
    planned(tmp_path, "k")
    shard = store.append(tmp_path, [row("k")])
    shard.write_bytes(shard.read_bytes()[:40])
    assert store.keys(tmp_path) == set()
    assert store.status(tmp_path)["missing"] == ["uk"]


def test_status_counts_and_names(tmp_path):
    planned(tmp_path, "k1", "k2")
    store.append(tmp_path, [row("k1")])
    store.write_failures(tmp_path, "uk2", [{"unit": "uk2", "task": "t", "measure": "m", "error": "boom"}])
    state = store.status(tmp_path)
    assert (state["units"], state["done"], state["missing"]) == (2, 1, ["uk2"])
    assert state["failures"][0]["error"] == "boom"
    store.write_failures(tmp_path, "uk2", [])
    assert store.status(tmp_path)["failures"] == []


def test_what_is_not_a_run_directory_is_named(tmp_path):
    for function in (store.read, store.status):
        with pytest.raises(InputError, match=str(tmp_path)):
            function(tmp_path)
