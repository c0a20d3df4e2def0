"""The canonical export: the same table gives the same bytes, wherever it came from."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from interp.errors import InputError
from interp.table import store
from interp.table.contract import COLUMNS, FACTS, NUMBERS, check_runs, read_table


def write_csv(table: pd.DataFrame, path: str | Path | None = None) -> str:
    """The canonical export: rows sorted by the contract's columns, shortest exact decimals, NaN empty, whole
    numbers without a point.

    Two tables are equal when these texts are equal. Returns the text, and writes it to `path` where one is given.
    """
    text = _text(read_table(table), header=True)
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


def export_csv(source: str | Path, file: IO[str]) -> None:
    """Writes `write_csv(read_table(source))` to an open file; of a run directory part by part, so that the table is never in
    memory as a whole.

    Raises:
        InputError: as `read_table` does. Damage is told before anything is written.
    """
    path = Path(source)
    if not path.is_dir() or not store.shards(path):
        file.write(write_csv(read_table(path)))
        return
    known = pd.DataFrame(columns=["run", "task", *FACTS])
    try:
        for index, part in enumerate(store.parts(path)):
            table = read_table(part)
            seed = pd.to_numeric(part["seed"]) if "seed" in part else np.nan  # before a missing one became 0
            facts = table[["run", "task", *FACTS]].assign(seed=seed).drop_duplicates()
            known = pd.concat([known, facts], ignore_index=True).drop_duplicates(ignore_index=True) if index else facts
            check_runs(known.reset_index(drop=True))
            file.write(_text(table, header=index == 0))
    except InputError:
        read_table(path)  # tells it in terms of the whole table
        raise


def _text(table: pd.DataFrame, *, header: bool) -> str:
    """The rows of a checked table as the canonical export has them."""
    order = [*COLUMNS, *sorted(name for name in table.columns if name not in COLUMNS)]
    keys = table[order].assign(position=pd.to_numeric(table["position"].replace("", "-1e9")))
    rows = table[order].loc[keys.sort_values(order, kind="stable").index]
    for name in [c for c in NUMBERS if c != "value"]:
        rows[name] = _digits(rows[name])
    rows["value"] = rows["value"] + 0.0
    rows["online"] = rows["online"].map({True: "true", False: "false"})
    return rows.to_csv(index=False, header=header, lineterminator="\n")


def _digits(numbers: pd.Series) -> pd.Series:
    def text(number: float) -> str:
        return "" if np.isnan(number) else str(int(number)) if number == int(number) else repr(float(number))

    places, values = pd.factorize(numbers.astype(float), use_na_sentinel=False)  # few are different
    return pd.Series(np.array([text(value) for value in values], dtype=object)[places], index=numbers.index)
