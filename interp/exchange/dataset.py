"""A table as a data set with its card: a folder that `huggingface_hub` pushes and `datasets` loads as it is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from interp.errors import InputError
from interp.files import read_json
from interp.table import read_table, store

BESIDE = ("config.yaml", "environment.json", "circuits", "formation")
"""What of a run directory goes with its table."""

MEANINGS = {
    "run": "one training run",
    "step": "optimiser steps",
    "task": "the skill that is asked",
    "measure": "what was measured",
    "component": "layer `L2`, head `L2H3`, `L2.mlp`, an edge, a sub-task; empty where the value is of the whole",
    "position": "token position; empty where there is none",
    "value": "the value; null where it is not defined",
    "stderr": "standard error, where known",
    "n": "of how many examples it is a mean",
    "unit": "its unit",
    "kind": "`behaviour`: what the model can do; `indicator`: what may warn of it",
    "online": "false where the value uses the end of the run: hindsight, never a warning",
    "family": "runs that were grown alike",
    "size": "the model's size by name",
    "n_params": "its parameters",
    "setting": "all that runs share but the seed",
    "seed": "the seed",
    "tokens": "tokens seen in training",
    "budget": "the planned number of steps",
    "cost": "forward-pass equivalents of one value",
    "key": "digest of everything that went into the value; names the file in `circuits/`, where there is one",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))


def write_dataset(
    source: str | Path | pd.DataFrame, folder: str | Path, *, name: str | None = None, licence: str | None = None
) -> Path:
    """Writes `data/table.parquet` and a card (`README.md`) into a new folder, with the experiment, the versions and the
    circuits where `source` is a run directory. `hf upload USER/NAME FOLDER --repo-type dataset` pushes it.

    source: anything `interp.read_table` reads.
    name: the data set's; by default the source's.
    licence: as the hub names it (`mit`, `cc-by-4.0`); nothing is said without.

    Raises:
        InputError: the folder is there and not empty; what `read_table` refuses.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there and not empty: name a new folder")
    table = read_table(source)
    home = Path(source) if not isinstance(source, pd.DataFrame) and Path(source).is_dir() else None
    own = name or (Path(source).resolve().stem if not isinstance(source, pd.DataFrame) else "table")
    (folder / "data").mkdir(parents=True)
    table.to_parquet(folder / "data" / "table.parquet", index=False)
    beside = [part for part in BESIDE if home and (home / part).exists()]
    for part in beside:
        path = home / part  # type: ignore[operator]
        if path.is_dir():
            shutil.copytree(path, folder / part, ignore=shutil.ignore_patterns("damaged", ".*"))
        else:
            shutil.copy2(path, folder / part)
    failures = store.failures(home) if home and (home / "shards").is_dir() else []
    made = read_json(home / "environment.json") if home and "environment.json" in beside else {}
    (folder / "README.md").write_text(_card(table, own, licence, beside, failures, made), encoding="utf-8")
    return folder


def _card(
    table: pd.DataFrame,
    name: str,
    licence: str | None,
    beside: list[str],
    failures: list[dict[str, Any]],
    made: Mapping[str, Any],
) -> str:
    head = {
        "pretty_name": name,
        **({"license": licence} if licence else {}),
        "tags": ["interpretability", "training-dynamics", "tabular"],
        "size_categories": [next((label for most, label in _SIZES if len(table) < most), "n>10M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/table.parquet"}]}],
    }
    n_runs, n_steps = table["run"].nunique(), len(table[["run", "step"]].drop_duplicates())
    about = (
        f"What was measured of {n_runs} training run{'s' if n_runs != 1 else ''} at {n_steps} checkpoints: {len(table)} values, "
        "one row a value. `data/table.parquet` is read as it is by `interp jumps`, `interp leads` and `interp report`, and by "
        "pandas."
    )
    undefined = int(table["value"].isna().sum())
    lacking = [f"{undefined} values are not defined where they were asked for, and null."] if undefined else []
    lacking += [f"{failure['unit']}: {failure['measure']} failed ({failure['error']})." for failure in failures[:20]]
    if len(failures) > 20:
        lacking.append(f"{len(failures) - 20} more failures.")
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n",
            f"# {name}\n",
            f"{about}\n",
            "## Runs\n",
            *_rows(["family", "task", "sizes", "settings", "runs", "steps"], _runs(table)),
            "\n## Measures\n",
            *_rows(["measure", "kind", "unit", "known at once", "values", "defined"], _measures(table)),
            "\n## Columns\n",
            *_rows(["column", "meaning"], [[f"`{column}`", MEANINGS.get(column, "")] for column in table.columns]),
            *_list("\n## Beside the table\n", [f"`{part}`" for part in beside]),
            *_list("\n## What is not there\n", lacking),
            *_list("\n## How it was made\n", list(_made(made))),
            "",
        ]
    )


def _runs(table: pd.DataFrame) -> Iterator[list[Any]]:
    for (family, task), part in table.groupby(["family", "task"], sort=True):
        steps = f"{part['step'].min():,.0f} to {part['step'].max():,.0f}"
        counts = [part[column].nunique() for column in ("size", "setting", "run")]
        yield [family or "–", task, *counts, steps]


def _measures(table: pd.DataFrame) -> Iterator[list[Any]]:
    for (measure, kind), part in table.groupby(["measure", "kind"], sort=True):
        online = "yes" if part["online"].all() else "no"
        yield [measure, kind, part["unit"].iloc[0] or "–", online, len(part), f"{part['value'].notna().mean():.1%}"]


def _made(made: Mapping[str, Any]) -> Iterator[str]:
    packages = made.get("packages")
    if isinstance(packages, Mapping):
        versions = ", ".join(f"{package} {version}" for package, version in packages.items() if version)
        yield f"interp {made.get('interp', '?')} on Python {made.get('python', '?')}; {versions}."
    if made.get("time"):
        yield f"Begun {made['time']}."


def _rows(head: list[str], rows: Any) -> list[str]:
    lines = [head, ["---"] * len(head), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _list(title: str, lines: list[str]) -> list[str]:
    return [title, *(f"- {line}" for line in lines)] if lines else []
