"""The store: a run directory that holds one append-only table in content-keyed shards.

    <run>/config.yaml         the resolved experiment
    <run>/environment.json    versions and machine
    <run>/plan.json           the keys of the present experiment, unit by unit
    <run>/shards/*.parquet    rows; each carries the key of the result it belongs to
    <run>/circuits/*.json     circuits, one file a checkpoint and task
    <run>/formation/*.json    what these circuits do on other prompts, under the same names
    <run>/failures/*.json     what failed and why, one file a unit
    <run>/**/damaged/         what was found damaged and made again

Every file is written whole under a temporary name and then renamed, so that a kill leaves whole files or none, and
carries a seal (`interp.files`). A shard is only ever added. Rows whose key is not in the plan belong to another version
of the experiment: kept, and not shown. Who reads changes nothing: only `heal`, which `interp run` begins with, moves
damaged files aside and seals what has no seal.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from interp import files
from interp.errors import Damaged, InputError

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (
    "run", "step", "task", "measure", "component", "position", "value",
    "stderr", "n", "unit", "kind", "online",
    "family", "size", "n_params", "setting", "seed", "tokens", "budget", "cost", "key",
)  # fmt: skip
_IDENTITY = ("run", "step", "task", "measure", "component", "position", "key")
_SEALED = ("plan.json", "config.yaml", "environment.json")
_FOLDERS = ("shards/*.parquet", "circuits/*.json", "formation/*.json", "failures/*.json")


def digest(*parts: Any) -> str:
    """A short sha256 of plain data, the same for equal content."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return sha256(text.encode()).hexdigest()[:24]


def append(run: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Add the rows of one unit as a shard, named by the keys in it: they stand in the place of what was there under the
    same keys."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for column in ("step", "n", "seed", "tokens", "budget", "n_params", "position"):
        frame[column] = pd.array([None if pd.isna(value) else int(value) for value in frame[column]], dtype="Int64")
    for column in ("value", "stderr", "cost"):
        frame[column] = frame[column].astype(float)
    content = io.BytesIO()
    frame.to_parquet(content, index=False)
    name = _name(set(frame["key"]))
    path = files.write_shard(run / "shards", name, content.getvalue())
    for older in {*path.parent.glob(f"{name}-*.parquet"), path.with_name(f"{name}.parquet")} - {path}:
        older.unlink(missing_ok=True)
    return path


def write_plan(run: Path, units: Iterable[tuple[str, Sequence[str]]]) -> None:
    """The units of the present experiment: (address, keys)."""
    files.write_json(run / "plan.json", [{"unit": unit, "keys": list(keys)} for unit, keys in units])


def integrity(run: str | Path) -> dict[str, list[str]]:
    """The files of a run directory that are `damaged`, and those that are `unsealed`: written before files had seals.

    Raises:
        OSError: a file that may not be read.
    """
    run, found = Path(run), {"damaged": [], "unsealed": []}  # type: ignore[var-annotated]
    for path in _files(run):
        state = files.state(path)
        if state != "sealed":
            found[state].append(str(path.relative_to(run)))
    return found


def verify(run: str | Path) -> dict[str, Any]:
    """A run directory checked file by file: how many `files`, `problems` (a sentence each), and which are `unsealed`.

    Raises:
        OSError: a file that may not be read.
    """
    run = Path(run)
    found, count = integrity(run), sum(1 for _ in _files(run))
    problems = [f"{run / name} is damaged: it is not what was written" for name in found["damaged"]]
    return {"files": count, "problems": problems, "unsealed": found["unsealed"]}


def heal(run: Path) -> list[str]:
    """Moves damaged files aside, so that what they held is made again, and seals the unsealed; returns the former."""
    found = integrity(run)
    for names, mend in ((found["damaged"], files.set_aside), (found["unsealed"], files.seal)):
        for name in names:
            with suppress(FileNotFoundError):  # another process that shares the directory was first
                mend(run / name)
    return found["damaged"]


def keys(run: Path) -> set[str]:
    """The keys of every result in the store. A damaged shard has none.

    Raises:
        OSError: a shard that may not be read.
    """
    found: set[str] = set()
    for shard in shards(run):
        try:
            found.update(_parsed(shard, ["key"])["key"].to_pylist())
        except Damaged:
            continue
    return found


def read(run: str | Path) -> pd.DataFrame:
    """The table of a run directory: every row whose key is in its plan, one row a value.

    Raises:
        InputError: not a run directory, or nothing has been measured yet; Damaged: the plan or a shard is.
        OSError: a file that may not be read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    run = Path(run)
    parts = [_parsed(shard) for shard in shards(run)]
    if not parts:
        raise InputError(f"{run} holds no results; expected a run directory made by `interp run`")
    try:
        table = pa.concat_tables(parts, promote_options="permissive")
    except (ValueError, TypeError) as error:
        raise InputError(f"the shards of {run} do not fit together: {error}") from error
    planned = {key for unit in plan(run) for key in unit["keys"]}
    if not planned:
        return table.to_pandas().drop_duplicates(ignore_index=True)
    frame = table.filter(pc.is_in(table["key"], pa.array(sorted(planned)))).to_pandas()
    identity = [name for name in _IDENTITY if name in frame.columns]
    return frame.drop_duplicates(identity).sort_values(identity, kind="stable", ignore_index=True)


def plan(run: Path) -> list[dict[str, Any]]:
    """The units of the present experiment: `unit` (an address), `keys`. Empty before the first `interp run`.

    Raises:
        Damaged: the plan is.
    """
    path = run / "plan.json"
    units = files.read_json(path) if path.is_file() else []
    if not all(isinstance(unit, dict) and {"unit", "keys"} <= unit.keys() for unit in units):
        raise files.damaged(path)
    return units


def failures(run: Path) -> list[dict[str, Any]]:
    """What failed at the last try: `unit`, `measure` (empty where the whole unit failed), `task`, `error`. What a
    damaged file held is left out: `integrity` names it."""
    found: list[dict[str, Any]] = []
    for path in _visible(run, "failures/*.json"):
        try:
            entries = files.read_json(path)
        except Damaged:
            continue
        blank = {"unit": "", "task": "", "measure": "", "error": ""}
        found += [{**blank, **entry} for entry in entries if isinstance(entry, dict)]
    return found


def write_failures(run: Path, unit: str, entries: Iterable[Mapping[str, Any]]) -> Path:
    """Replace what is known of the failures of one unit; no entries: it is well. Returns where it is, or would be."""
    path = run / "failures" / f"{digest(unit)}.json"
    entries = list(entries)
    if entries:
        files.write_json(path, entries)
    else:
        path.unlink(missing_ok=True)
    return path


def status(run: str | Path) -> dict[str, Any]:
    """How far a run is: units planned, done, failed and missing, what failed, and which files are damaged or unsealed.

    Raises:
        InputError: not a run directory; Damaged: its plan is.
        OSError: a file that may not be read.
    """
    run = Path(run)
    units = plan(run)
    if not units:
        raise InputError(
            f"{run} is not a run directory: it has no plan.json; make one with `interp run EXPERIMENT.yaml`"
        )
    there = keys(run)
    done = [unit["unit"] for unit in units if there.issuperset(unit["keys"])]
    return {
        "run": str(run),
        "units": len(units),
        "done": len(done),
        "missing": sorted({unit["unit"] for unit in units} - set(done)),
        "results": sum(len(unit["keys"]) for unit in units),
        "results_done": sum(len(there.intersection(unit["keys"])) for unit in units),
        "failures": failures(run),
        **integrity(run),
    }


def shards(run: Path) -> list[Path]:
    """The shards of a run directory, in order of their names."""
    return _visible(run, "shards/*.parquet")


def _parsed(shard: Path, columns: list[str] | None = None) -> pa.Table:
    """What a shard holds; read once, checked, and parsed in memory.

    Raises:
        Damaged: it is not what was written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    content = files.read_shard(shard)
    try:
        return parquet.ParquetFile(pa.BufferReader(content)).read(columns=columns, use_threads=False)
    except (OSError, ValueError) as error:
        raise files.damaged(shard) from error


def _files(run: Path) -> Iterator[Path]:
    """Every file of a run directory that carries a seal."""
    yield from (run / name for name in _SEALED if (run / name).is_file())
    for pattern in _FOLDERS:
        yield from _visible(run, pattern)


def _visible(run: Path, pattern: str) -> list[Path]:
    return sorted(path for path in run.glob(pattern) if not path.name.startswith("."))


def _name(found: set[str]) -> str:
    return digest(sorted(found))
