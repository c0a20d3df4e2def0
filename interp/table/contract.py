"""The table: one row a value, the contract between what measures and what judges.

Required columns: run, step, task, measure, value. Optional ones are filled with what a missing column means,
one value for all. A *curve* is one (run, task, measure, component, position). A run has one setting, size, seed and
budget in a task; it may go on past its budget. `read_table` takes a DataFrame, a CSV or Parquet file, a run directory
(`shards/*.parquet`) or a folder of evaluation-harness logs, and gives the same validated frame for all of them.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd

from interp.errors import InputError, nearest
from interp.table import store
from interp.table.harness import read_harness as read_harness

REQUIRED = ["run", "step", "task", "measure", "value"]
CURVE = ["run", "task", "measure", "component", "position"]
DEFAULTS: dict[str, object] = {
    "component": "",
    "position": "",
    "stderr": np.nan,
    "n": np.nan,
    "unit": "",
    "kind": "behaviour",
    "online": True,
    "family": "",
    "size": "",
    "n_params": np.nan,
    "setting": "",
    "seed": 0,
    "tokens": np.nan,
    "budget": np.nan,
    "key": "",
}
COLUMNS = ["run", "step", "task", "measure", "component", "position", "value", *list(DEFAULTS)[2:]]
LARGEST = 2**53
"""Float64 holds every whole number below it."""
KINDS = ("behaviour", "indicator")
FACTS = ("setting", "size", "seed", "budget")
"""What a run has one of in a task. Rows that do not say it do not contradict the others."""

NUMBERS = ["step", "value", "stderr", "n", "n_params", "seed", "tokens", "budget"]
_MISSING = {"", "nan", "null", "none", "na", "n/a", "<na>"}
_BOOLEANS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def read_table(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    """The validated table of `source`, every column of the contract present, other columns kept behind them.

    source: a DataFrame, a .csv or .parquet file, a run directory, or a file or folder of evaluation-harness JSON logs.
    Text columns hold strings, `position` too ("" or the number's digits), so that groups never lose rows to
    NaN; `value` is NaN where a measure is not defined. `attrs["given"]` lists the columns that were there
    before defaults were filled in.

    Raises:
        InputError: no such path, missing column, duplicate row, infinite value, a step or seed that is no exact number, unknown kind,
            a budget that is not positive, a setting, size, seed or budget that changes within a run.
    """
    frame = source if isinstance(source, pd.DataFrame) else _read(Path(source))
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise InputError(f"the table has no column {missing[0]!r}{nearest(missing[0], frame.columns)}")
    doubled = frame.columns[frame.columns.duplicated()]
    if len(doubled):
        raise InputError(f"the table has two columns {doubled[0]!r}")
    table = pd.DataFrame(index=pd.RangeIndex(len(frame)))
    for name in COLUMNS:
        given = frame[name].reset_index(drop=True) if name in frame.columns else None
        table[name] = _column(name, given, table)
    for name in frame.columns:
        if name not in COLUMNS:
            table[name] = frame[name].to_numpy()
    table.attrs = {**frame.attrs, "given": [name for name in COLUMNS if name in frame.columns]}
    _check(table)
    check_runs(table)
    table["seed"] = _counts(table["seed"].fillna(0))
    return table


def _read(path: Path) -> pd.DataFrame:
    if not path.exists():
        siblings = path.parent.iterdir() if path.parent.is_dir() else ()
        raise InputError(f"no table at {str(path)!r}{nearest(path.name, (p.name for p in siblings))}")
    if path.is_dir():
        if store.shards(path):
            return store.read(path)
        if (path / "shards").is_dir():
            raise InputError(f"the run directory {str(path)!r} holds no result yet (shards/ is empty)")
        return read_harness(path)
    if path.suffix == ".csv":
        return _csv(path)
    if path.suffix == ".parquet":
        return _parquet(path)
    if path.suffix == ".json":
        return read_harness(path)
    raise InputError(
        f"cannot read {str(path)!r}: expected .csv, .parquet, .json, a run directory or a folder of harness logs"
    )


def _csv(path: Path) -> pd.DataFrame:
    """The cells as text; every row with as many as the header, every column with a name of its own. (Pandas by itself
    renames a second column of one name, takes a cell too many for a row's name and fills up a row that was cut short.)"""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            cells = csv.reader(lines)
            header = next(cells, [])
            lengths = [len(row) for row in cells if row]  # blank lines are no rows
        for name in header:
            if header.count(name) > 1:
                raise InputError(f"the table has two columns {name!r}")
        for row, length in enumerate(lengths, start=1):
            if length != len(header):
                raise InputError(f"{path} is not a CSV table: row {row} has {length} cells, the header {len(header)}")
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError, csv.Error) as error:  # pandas' own errors and UnicodeDecodeError are ValueErrors
        raise error if isinstance(error, InputError) else InputError(f"{path} is not a CSV table: {error}") from error


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a Parquet table: {error}") from error


def _column(name: str, given: pd.Series | None, table: pd.DataFrame) -> pd.Series:
    if given is None:
        default = DEFAULTS[name]
        dtype = "str" if isinstance(default, str) else type(default)
        return _taken(pd.Series([default], dtype=dtype), np.zeros(len(table), int))
    if name in NUMBERS:
        return _number(name, given, table)
    if name == "position":
        return _position(given, table)
    codes, values = pd.factorize(given, use_na_sentinel=False)
    each = pd.Series(values)
    if name == "online":
        flags = each.astype(str).str.lower().map(lambda word: True if word in _MISSING else _BOOLEANS.get(word))
        _refuse(_taken(flags.isna(), codes), name, given, table, "is neither true nor false")
        return _taken(flags.astype(bool), codes)
    if name in ("run", "task", "measure"):
        _refuse(_taken(each.isna() | (each.astype(str) == ""), codes), name, given, table, "is empty")
    text = each.astype(object).where(each.notna(), "").astype(str).astype("str")
    return _taken(text, codes)


def _taken(each: pd.Series, codes: np.ndarray) -> pd.Series:
    """A column from its distinct values: what is done a value costs nothing a row."""
    return each.take(codes).reset_index(drop=True)


def _number(name: str, given: pd.Series, table: pd.DataFrame) -> pd.Series:
    numbers = pd.to_numeric(given, errors="coerce").astype(float)
    wrong = numbers.isna() & given.notna()
    wrong[wrong] = ~given[wrong].astype(str).str.strip().str.lower().isin(_MISSING)
    _refuse(wrong, name, given, table, "is not a number")
    _refuse(pd.Series(np.isinf(numbers)), name, given, table, "is infinite")
    if name == "step":
        _refuse(numbers.isna(), name, given, table, "is missing")
    if name in ("step", "seed", "position"):
        _refuse(numbers.abs() >= LARGEST, name, given, table, "is too large to be one (2^53 and beyond are not exact)")
    if name == "seed":
        _refuse(numbers.notna() & (numbers != np.floor(numbers)), name, given, table, "is not a whole number")
    if name in ("step", "stderr", "n"):
        _refuse(numbers < 0, name, given, table, "is negative")
    if name == "budget":
        _refuse(numbers <= 0, name, given, table, "is no planned number of steps: it is not positive")
    return _counts(numbers) if name in ("step", "seed") else numbers


def _counts(numbers: pd.Series) -> pd.Series:
    """As integers, where all are whole."""
    return numbers.astype("int64") if bool((numbers == np.floor(numbers)).all()) else numbers


def _position(given: pd.Series, table: pd.DataFrame) -> pd.Series:
    numbers = _number("position", given, table)
    _refuse(numbers.notna() & (numbers != np.floor(numbers)), "position", given, table, "is not a whole number")
    codes, values = pd.factorize(numbers, use_na_sentinel=False)
    return _taken(pd.Series(["" if np.isnan(p) else str(int(p)) for p in values], dtype="str"), codes)


def _refuse(bad: pd.Series, name: str, given: pd.Series, table: pd.DataFrame, what: str) -> None:
    if not bad.any():
        return
    row = int(np.flatnonzero(bad.to_numpy())[0])
    here = {c: _shown(table[c].iloc[row]) for c in ("run", "step", "task", "measure") if c in table.columns}
    place = ", ".join(f"{column} {value}" for column, value in here.items())
    more = f" (and {int(bad.sum()) - 1} more)" if bad.sum() > 1 else ""
    raise InputError(
        f"column {name!r}, row {row + 1} of the data: {_shown(given.iloc[row])} {what}{more}"
        + (f" [{place}]" if place else "")
    )


def _shown(value: object) -> str:
    """A cell as a reader would write it: text in quotes, numbers plain."""
    plain = value.item() if isinstance(value, np.generic) else value
    return f"{plain:.15g}" if isinstance(plain, float) else repr(plain)


def _check(table: pd.DataFrame) -> None:
    if table.empty:
        raise InputError("the table has no rows")
    wrong = ~table["kind"].isin(KINDS)
    if wrong.any():
        name = table.loc[wrong, "kind"].iloc[0]
        what = f"is no kind{nearest(name, KINDS)}" if name else f"is missing; expected {' or '.join(KINDS)}"
        _refuse(wrong, "kind", table["kind"], table, what)
    twice = table.duplicated([*CURVE, "step"], keep=False)
    if twice.any():
        rows = np.flatnonzero(twice.to_numpy())
        first = table.iloc[rows[0]]
        place = json.dumps({name: str(first[name]) for name in [*CURVE, "step"] if first[name] != ""})
        same = rows[(table.iloc[rows][[*CURVE, "step"]] == first[[*CURVE, "step"]]).all(axis=1).to_numpy()]
        raise InputError(
            f"duplicate rows {same[0] + 1} and {same[1] + 1} of the data for {place} ({len(rows)} rows are not unique)"
        )


def check_runs(table: pd.DataFrame) -> None:
    """Every run has one of each of FACTS in a task."""
    run = table.groupby(["run", "task"], sort=False, observed=True).ngroup()
    for name in FACTS:
        fact = table[name][table[name].notna() & (table[name] != "")]
        each = pd.DataFrame({"run": run[fact.index], "fact": pd.factorize(fact)[0]}).drop_duplicates()
        changed = each.index[each.duplicated("run")]
        if len(changed):
            row = changed[0]
            first = each.index[each["run"] == each["run"][row]][0]
            raise InputError(
                f"run {table['run'][row]!r} has {name} {_shown(table[name][first])} in row {first + 1} of the data and "
                f"{_shown(table[name][row])} in row {row + 1} (task {table['task'][row]!r}); a run has one {name}"
            )
