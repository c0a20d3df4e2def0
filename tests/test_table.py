"""The contract's table: what is read, what is refused, and the canonical export."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp import InputError
from interp.table import COLUMNS, CURVE, DEFAULTS, read_table, write_csv


def small(**columns: object) -> pd.DataFrame:
    rows = {
        "run": ["a", "a", "b", "b"],
        "step": [1, 2, 1, 2],
        "task": "t",
        "measure": "accuracy",
        "value": [0.1, 0.2, 0.3, np.nan],
    }
    return pd.DataFrame({**rows, **columns})


def test_optional_columns_mean_one_value_for_all():
    table = read_table(small())
    assert list(table.columns) == COLUMNS
    for name, default in DEFAULTS.items():
        values = table[name]
        assert values.isna().all() if isinstance(default, float) else (values == default).all(), name
    assert table.attrs["given"] == ["run", "step", "task", "measure", "value"]
    assert len(table.groupby(CURVE)) == 2, "no row may be lost to a missing key"


def test_read_is_idempotent_and_keeps_other_columns():
    once = read_table(small(extra=[1, 2, 3, 4], position=[0, 1, np.nan, 3]))
    pd.testing.assert_frame_equal(read_table(once), once)
    assert list(once["extra"]) == [1, 2, 3, 4]
    assert list(once["position"]) == ["0", "1", "", "3"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drop": "step", "rename": {"value": "vlaue"}}, ["step"]),
        ({"rename": {"value": "vlaue"}}, ["'value'", "did you mean 'vlaue'"]),
        ({"set": ("value", 1, np.inf)}, ["'value', row 2 of the data: inf is infinite [run 'a', step 2, task 't'"]),
        ({"set": ("value", 2, "high")}, ["'value'", "row 3", "'high'", "not a number"]),
        ({"set": ("step", 0, "one")}, ["'step'", "row 1", "not a number"]),
        ({"set": ("step", 0, None)}, ["'step'", "row 1", "missing"]),
        ({"set": ("run", 3, "")}, ["'run'", "row 4", "empty"]),
        ({"set": ("step", 1, 1)}, ["duplicate rows 1 and 2 of the data", '"run": "a"']),
        ({"set": ("kind", 1, "behavior")}, ["'kind'", "row 2", "did you mean 'behaviour'"]),
        ({"set": ("kind", 1, "")}, ["'kind', row 2 of the data", "missing; expected behaviour or indicator"]),
        ({"set": ("kind", 1, None)}, ["'kind', row 2 of the data", "missing; expected behaviour or indicator"]),
        ({"set": ("budget", 1, 0)}, ["'budget', row 2 of the data: 0 ", "not positive", "step 2"]),
        ({"set": ("budget", 1, -5)}, ["'budget', row 2 of the data: -5 ", "not positive"]),
        ({"set": ("budget", 1, 200)}, ["run 'a' has budget 100 in row 1 of the data and 200 in row 2 (task 't')"]),
        ({"set": ("setting", 3, "wd2")}, ["run 'b' has setting 'wd1' in row 3 of the data and 'wd2' in row 4"]),
        ({"set": ("size", 1, "d24")}, ["run 'a' has size 'd12' in row 1", "'d24' in row 2", "a run has one size"]),
        ({"set": ("seed", 3, 8)}, ["run 'b' has seed 7 in row 3", "8 in row 4"]),
        ({"set": ("online", 1, "perhaps")}, ["'online'", "row 2", "true nor false"]),
        ({"set": ("n", 1, -5)}, ["'n'", "row 2", "negative"]),
        ({"set": ("position", 1, 0.5)}, ["'position'", "row 2", "whole number"]),
    ],
)
def test_wrong_tables_are_refused_with_the_place(change, words):
    facts = {"setting": "wd1", "size": "d12", "seed": 7, "budget": 100}
    frame = small(kind="behaviour", online=True, n=10, position=0, **facts).astype(object)
    if "set" in change:
        column, row, value = change["set"]
        frame.loc[row, column] = value
    frame = frame.drop(columns=change.get("drop", [])).rename(columns=change.get("rename", {}))
    with pytest.raises(InputError) as error:
        read_table(frame)
    for word in words:
        assert word in str(error.value)


def test_what_a_run_has_one_of_may_differ_between_runs_and_tasks_and_be_left_out():
    facts = {"setting": ["x", "", "y", "y"], "seed": [3, None, 0, 0], "budget": [100, None, 2, 2]}
    one = small(**facts)
    other = small(task="u", setting="z", seed=5, budget=1)
    table = read_table(pd.concat([one, other]))
    assert table["setting"].tolist() == ["x", "", "y", "y", "z", "z", "z", "z"]
    assert table["seed"].tolist() == [3, 0, 0, 0, 5, 5, 5, 5]
    assert table["seed"].dtype == "int64"
    assert table["budget"].fillna(-1).tolist() == [100, -1, 2, 2, 1, 1, 1, 1], "a run may go on past its budget"


def test_rows_without_any_are_refused(tmp_path):
    with pytest.raises(InputError, match="no rows"):
        read_table(small().iloc[:0])
    (tmp_path / "table.csv").write_text("")
    with pytest.raises(InputError, match="not a CSV"):
        read_table(tmp_path / "table.csv")
    with pytest.raises(InputError, match=r"did you mean 'table\.csv'"):
        read_table(tmp_path / "tabel.csv")
    (tmp_path / "run" / "shards").mkdir(parents=True)
    with pytest.raises(InputError, match="no result yet"):
        read_table(tmp_path / "run")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not a Parquet"):
        read_table(tmp_path / "bad.parquet")


def test_every_source_gives_the_same_table(tmp_path):
    table = read_table(small(component="L0H1", position=[0, 1, 0, 1], n=50, online=False, run=["7", "7", "08", "08"]))
    write_csv(table, tmp_path / "t.csv")
    table.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "run" / "shards").mkdir(parents=True)
    table.iloc[:3].to_parquet(tmp_path / "run" / "shards" / "1.parquet")
    table.iloc[2:].to_parquet(tmp_path / "run" / "shards" / "2.parquet")
    texts = {write_csv(read_table(tmp_path / name)) for name in ("t.csv", "t.parquet", "run")}
    assert texts == {write_csv(table)}, "a row that two shards share counts once, and '08' stays a name"


@settings(max_examples=20, deadline=None)
@given(
    values=st.lists(st.floats(allow_nan=True, allow_infinity=False, width=64), min_size=2, max_size=8),
    order=st.randoms(use_true_random=False),
)
def test_export_is_exact_and_blind_to_order(values, order, tmp_path_factory):
    frame = pd.DataFrame({"run": "r", "step": range(len(values)), "task": "t", "measure": "m", "value": values})
    text = write_csv(frame)
    rows, columns = list(range(len(frame))), list(frame.columns)
    order.shuffle(rows)
    order.shuffle(columns)
    assert write_csv(frame.iloc[rows][columns]) == text
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text(text)
    np.testing.assert_array_equal(read_table(path)["value"].to_numpy(), np.array(values) + 0.0)


@pytest.mark.parametrize("dtype", ["object", "str", "category"])
def test_a_column_reads_the_same_whatever_its_dtype(dtype):
    columns = {"setting": ["x", "x", "y", ""], "position": ["3", "3", "nan", ""], "online": ["True", "1", "false", ""]}
    given = small(**{name: pd.Series(values, dtype=dtype) for name, values in columns.items()})
    table = read_table(given.assign(n=pd.Series(["7", "8", "", "null"], dtype=dtype)))
    assert table["position"].tolist() == ["3", "3", "", ""]
    assert table["online"].tolist() == [True, True, False, True]
    assert table["setting"].tolist() == ["x", "x", "y", ""]
    assert table["n"].fillna(-1).tolist() == [7, 8, -1, -1]
    assert read_table(small(setting=[1, 1, 2, None], position=[3, 3, None, None]))["position"].tolist() == [
        "3",
        "3",
        "",
        "",
    ]


def test_export_writes_whole_numbers_without_a_point():
    header, first = write_csv(small(n=100, seed=3, tokens=2.5e9)).splitlines()[:2]
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert (row["step"], row["n"], row["seed"], row["tokens"]) == ("1", "100", "3", "2500000000")
    assert (row["stderr"], row["online"], row["kind"]) == ("", "true", "behaviour")


def test_right_of_the_store_imports_no_torch():
    code = "import sys, interp.table, interp.jumps; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("cell", ["1e300", str(2**53), str(2**63), "-1", "inf", "one"])
def test_a_step_that_is_no_exact_count_is_refused_by_row(tmp_path, cell):
    file = tmp_path / "t.csv"
    file.write_text(f"run,step,task,measure,value\nr,1,t,m,1\nr,{cell},t,m,1\n")
    with pytest.raises(InputError, match="column 'step', row 2"):
        read_table(file)


@pytest.mark.parametrize("cell", ["1e30", "0.5", str(-(2**63))])
def test_a_seed_that_is_not_whole_or_not_exact_is_refused(tmp_path, cell):
    file = tmp_path / "t.csv"
    file.write_text(f"run,step,task,measure,value,seed\nr,1,t,m,1,{cell}\n")
    with pytest.raises(InputError, match="column 'seed', row 1"):
        read_table(file)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("run,step,task,measure,value,value\nr,1,t,m,1,2\n", "two columns 'value'"),
        ("run,step,task,measure,value\nr,1,t,m,1,2\nr,2,t,m,1,2\n", "row 1 has 6 cells, the header 5"),
        ("run,step,task,measure,value\nr,1,t,m,1\nr,2,t,m", "row 2 has 4 cells"),
        ("", "not a CSV table"),
        ("run,step,task,measure\nr,1,t,m\n", "no column 'value'"),
    ],
)
def test_a_csv_whose_rows_do_not_fit_its_header_is_refused(tmp_path, text, match):
    file = tmp_path / "t.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=match):
        read_table(file)


def test_a_csv_with_a_byte_order_mark_reads_the_same(tmp_path):
    plain, marked = tmp_path / "a.csv", tmp_path / "b.csv"
    text = "run,step,task,measure,value\nr,1,t,m,0.5\n"
    plain.write_text(text)
    marked.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert write_csv(read_table(plain)) == write_csv(read_table(marked))
