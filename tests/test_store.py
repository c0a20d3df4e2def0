"""The store: append-only, whole files, only what the present plan names."""

import io
import os
import tracemalloc

import pandas as pd
import pyarrow as pa
import pytest

from interp import files
from interp.errors import InputError
from interp.table import export_csv, read_table, shards, store, write_csv


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


def test_a_reader_finds_what_was_written_anew_since_it_looked(tmp_path, monkeypatch):
    planned(tmp_path, "k")
    store.append(tmp_path, [row("k")])
    stale = shards.shards(tmp_path)
    store.append(tmp_path, [row("k", cost=2.0)])
    store.write_failures(tmp_path, "uk", [{"unit": "uk", "error": "boom"}])
    listed = store._visible(tmp_path, "failures/*.json")
    store.write_failures(tmp_path, "uk", [])
    assert not stale[0].exists()
    monkeypatch.setattr(shards, "shards", lambda run: stale)
    monkeypatch.setattr(store, "shards", lambda run: stale)
    monkeypatch.setattr(store, "_visible", lambda run, pattern: listed if "failures" in pattern else stale)
    assert list(store.read(tmp_path)["value"]) == [0.5]
    assert store.status(tmp_path)["failures"] == []
    assert store.keys(tmp_path) == {"k"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_writers_of_one_unit_never_remove_each_others(order, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_remove_older", lambda *_: None)
    written = [store.append(tmp_path, [row("k", cost=cost)]) for cost in (1.0, 2.0)]
    monkeypatch.undo()
    assert len(set(written)) == 2
    for which in order:
        store._remove_older(written[which], set(written))
    assert shards.shards(tmp_path) == [written[1]]


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


def a_store(run, n_units, rows_each=20):
    units = []
    for number in range(n_units):
        about = {"run": f"r{number % 3}", "step": number // 3, "seed": number % 3, "kind": "behaviour", "online": True}
        rows = [{**about, "measure": f"m{i}", "key": store.digest(number, i)} for i in range(rows_each)]
        store.append(run, [row(**{"key": "", **entry, "value": number / (1 + i)}) for i, entry in enumerate(rows)])
        units.append((f"u{number}", [entry["key"] for entry in rows]))
    store.write_plan(run, units)
    return run


@pytest.mark.parametrize("part_rows", [1, 50, 10**6])
def test_the_table_part_by_part_is_the_table(part_rows, tmp_path, monkeypatch):
    a_store(tmp_path, 20)
    store.append(tmp_path, [row("not planned", 3)])
    monkeypatch.setattr(shards, "PART_ROWS", part_rows)
    parts = list(store.parts(tmp_path))
    assert {1: 20, 50: 7, 10**6: 1}[part_rows] == len(parts)
    places = [set(zip(part["run"], part["step"], strict=True)) for part in parts]
    assert sum(map(len, places)) == len(set().union(*places))
    assert pd.concat(parts, ignore_index=True).equals(store.read(tmp_path))
    text = io.StringIO()
    export_csv(tmp_path, text)
    assert text.getvalue() == write_csv(read_table(tmp_path))


def test_a_run_that_contradicts_itself_in_two_parts_is_refused_as_in_one(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "PART_ROWS", 1)
    for step, seed in enumerate((None, 3, 3, 4)):
        store.append(tmp_path, [{**row(f"k{step}", step), "seed": seed, "kind": "behaviour", "online": True}])
    with pytest.raises(InputError) as whole:
        read_table(tmp_path)
    with pytest.raises(InputError) as in_parts:
        export_csv(tmp_path, io.StringIO())
    assert str(in_parts.value) == str(whole.value)
    assert "seed" in str(whole.value)


def peak_bytes(function):
    """The most that Python, NumPy and Arrow held at a time while a function ran."""
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1] + pool.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)


def test_memory_goes_by_the_part_and_not_by_the_table(tmp_path, monkeypatch):
    """Eight times the rows: what `status`, `verify` and `export` hold grows by what they know of a unit (its address and the
    name of its shard), which is a few bytes a row; a row of the table is some hundred."""
    monkeypatch.setattr(shards, "PART_ROWS", 400)
    few, many = a_store(tmp_path / "few", 6, rows_each=100), a_store(tmp_path / "many", 46, rows_each=100)
    rows = 40 * 100

    def export(run):
        with open("/dev/null" if os.name == "posix" else "nul", "w") as nowhere:
            export_csv(run, nowhere)

    monkeypatch.setattr(files, "PIECE", 4000)
    for function in (store.status, store.verify, export):
        function(few)  # what is made once
        grown = peak_bytes(lambda: function(many)) - peak_bytes(lambda: function(few))  # noqa: B023
        assert grown < rows * 60, (function, grown / rows)
