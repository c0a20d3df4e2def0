"""The store: a run directory that holds one append-only table in content-keyed shards.

    <run>/config.yaml         the resolved experiment
    <run>/environment.json    versions and machine
    <run>/plan.json           the keys of the present experiment, unit by unit
    <run>/shards/*.parquet    rows; each carries the key of the result it belongs to
    <run>/circuits/*.json     circuits, one file a checkpoint and task
    <run>/formation/*.json    what these circuits do on other prompts, under the same names
    <run>/failures/*.json     what failed and why, one file a unit

Every file is written whole under a temporary name and then renamed, so that a kill leaves whole files or none. A shard
is only ever added. Rows whose key is not in the plan belong to another version of the experiment: kept, and not shown.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from interp.errors import InputError

COLUMNS = (
    "run", "step", "task", "measure", "component", "position", "value",
    "stderr", "n", "unit", "kind", "online",
    "family", "size", "n_params", "setting", "seed", "tokens", "budget", "cost", "key",
)  # fmt: skip


def digest(*parts: Any) -> str:
    """A short sha256 of plain data, the same for equal content."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return sha256(text.encode()).hexdigest()[:24]


def write_json(path: Path, data: Any) -> None:
    """Write JSON whole or not at all."""
    write_whole(path, (json.dumps(data, indent=1, sort_keys=True, default=str) + "\n").encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def append(run: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Add the rows of one unit as a shard, named by the keys in it."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for column in ("step", "n", "seed", "tokens", "budget", "n_params", "position"):
        frame[column] = pd.array([None if pd.isna(value) else int(value) for value in frame[column]], dtype="Int64")
    for column in ("value", "stderr", "cost"):
        frame[column] = frame[column].astype(float)
    path = run / "shards" / f"{digest(sorted(set(frame['key'])))}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    frame.to_parquet(temporary, index=False)
    os.replace(temporary, path)
    return path


def keys(run: Path) -> set[str]:
    """The keys of every result in the store. A shard that cannot be read is dropped, so that it is computed again."""
    found: set[str] = set()
    for shard in _shards(run):
        try:
            found.update(pd.read_parquet(shard, columns=["key"])["key"])
        except (OSError, ValueError):
            shard.unlink()
    return found


def read(run: str | Path) -> pd.DataFrame:
    """The table of a run directory: every row whose key is in its plan, one row a value.

    Raises:
        InputError: not a run directory, or nothing has been measured yet.
    """
    run = Path(run)
    shards = list(_shards(run))
    if not shards:
        raise InputError(f"{run} holds no results; expected a run directory made by `interp run`")
    table = pd.concat([pd.read_parquet(shard) for shard in shards], ignore_index=True)
    planned = {key for unit in plan(run) for key in unit["keys"]}
    table = table[table["key"].isin(planned)] if planned else table
    identity = ["run", "step", "task", "measure", "component", "position", "key"]
    return table.drop_duplicates(identity).sort_values(identity, kind="stable", ignore_index=True)


def plan(run: Path) -> list[dict[str, Any]]:
    """The units of the present experiment: `unit` (an address), `keys`. Empty before the first `interp run`."""
    path = run / "plan.json"
    return json.loads(path.read_text()) if path.is_file() else []


def failures(run: Path) -> list[dict[str, Any]]:
    """What failed at the last try: `unit`, `measure` (empty where the whole unit failed), `task`, `error`."""
    return [entry for path in sorted((run / "failures").glob("*.json")) for entry in json.loads(path.read_text())]


def write_failures(run: Path, unit: str, entries: Iterable[Mapping[str, Any]]) -> Path:
    """Replace what is known of the failures of one unit; no entries: it is well. Returns where it is, or would be."""
    path = run / "failures" / f"{digest(unit)}.json"
    entries = list(entries)
    if entries:
        write_json(path, entries)
    else:
        path.unlink(missing_ok=True)
    return path


def status(run: str | Path) -> dict[str, Any]:
    """How far a run is: units planned, done, failed and missing, and what failed."""
    run = Path(run)
    units = plan(run)
    if not units:
        raise InputError(
            f"{run} is not a run directory: it has no plan.json; make one with `interp run EXPERIMENT.yaml`"
        )
    there = keys(run)
    failed = failures(run)
    done = [unit["unit"] for unit in units if set(unit["keys"]) <= there]
    missing = sorted({unit["unit"] for unit in units} - set(done))
    return {
        "run": str(run),
        "units": len(units),
        "done": len(done),
        "missing": missing,
        "results": sum(len(unit["keys"]) for unit in units),
        "results_done": sum(len(there.intersection(unit["keys"])) for unit in units),
        "failures": failed,
    }


def _shards(run: Path) -> Iterable[Path]:
    return sorted(path for path in (run / "shards").glob("*.parquet") if not path.name.startswith("."))
