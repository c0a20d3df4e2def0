"""The store: a run directory that holds one append-only table in content-keyed shards.

    <run>/config.yaml         the resolved experiment
    <run>/environment.json    versions and machine
    <run>/plan.json           the keys of the present experiment, unit by unit
    <run>/shards/*.parquet    rows; each carries the key of the result it belongs to
    <run>/circuits/*.json     circuits, one file a checkpoint and task
    <run>/formation/*.json    what these circuits do on other prompts, under the same names
    <run>/inherited/*.json    what the circuit of the checkpoint before still does there, named by both
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
from typing import Any

import pandas as pd

from interp import files
from interp.errors import Damaged, InputError
from interp.table import shards as _shards
from interp.table.shards import shards as shards

COLUMNS = (
    "run", "step", "task", "measure", "component", "position", "value",
    "stderr", "n", "unit", "kind", "online",
    "family", "size", "n_params", "setting", "seed", "tokens", "budget", "cost", "key",
)  # fmt: skip
_TEXT = ("run", "task", "measure", "component", "unit", "kind", "family", "size", "setting", "key")
_SEALED = ("plan.json", "config.yaml", "environment.json")
_FOLDERS = ("shards/*.parquet", "circuits/*.json", "formation/*.json", "inherited/*.json", "failures/*.json")


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
    for column in frame.columns[frame.isna().all()].intersection(
        [*_TEXT, "online"]
    ):  # else numbers, to which nothing fits
        frame[column] = pd.array([None] * len(frame), dtype="boolean" if column == "online" else "string")
    content = io.BytesIO()
    frame.to_parquet(content, index=False)
    name = _name(frame["key"])
    path = files.write_shard(run / "shards", name, content.getvalue())
    _remove_older(path, {*path.parent.glob(f"{name}-*.parquet"), path.with_name(f"{name}.parquet")})
    return path


def _remove_older(path: Path, others: set[Path]) -> None:
    """Removes what a shard stands in the place of; not what another process wrote at the same time and later, or each would
    remove the other's."""
    with suppress(FileNotFoundError):
        mine = path.stat().st_mtime_ns, path.name
        for other in others - {path}:
            with suppress(FileNotFoundError):
                if (other.stat().st_mtime_ns, other.name) < mine:
                    other.unlink()


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
        try:
            state = files.state(path)
        except FileNotFoundError:  # replaced, or well again, since the folder was listed
            continue
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
    return set(_shards.keys(run).to_pylist())


def read(run: str | Path) -> pd.DataFrame:
    """The table of a run directory: every row whose key is in its plan, one row a value, in order.

    Raises:
        InputError: not a run directory, or nothing has been measured yet; Damaged: the plan or a shard is.
        OSError: a file that may not be read.
    """
    found = list(parts(run))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(COLUMNS))


def parts(run: str | Path) -> Iterator[pd.DataFrame]:
    """The same, some ten thousand rows at a time."""
    import pyarrow as pa

    run = Path(run)
    if not shards(run):
        raise InputError(f"{run} holds no results; expected a run directory made by `interp run`")
    sealed = {_shards.named(path) for path in shards(run) if files.has_seal(path)}
    whole = {name for _, keys in plan(run) if (name := _name(keys)) in sealed}
    rest = [pa.array(keys, pa.string()) for _, keys in plan(run) if _name(keys) not in whole]
    planned = pa.chunked_array(rest, pa.string()).combine_chunks()
    yield from _shards.parts(run, planned if whole or len(planned) else None, whole)


def plan(run: Path) -> Iterator[tuple[str, list[str]]]:
    """The units of the present experiment: an address and its keys. None before the first `interp run`.

    Raises:
        Damaged: the plan is.
    """
    path = run / "plan.json"
    for entry in files.read_entries(path) if path.is_file() else ():
        match entry:
            case {"unit": str(unit), "keys": list(keys)} if all(isinstance(key, str) for key in keys):
                yield unit, keys
            case _:
                raise files.damaged(path)


def failures(run: Path) -> list[dict[str, Any]]:
    """What failed at the last try: `unit`, `measure` (empty where the whole unit failed), `task`, `error`. What a
    damaged file held is left out: `integrity` names it."""
    found: list[dict[str, Any]] = []
    for path in _visible(run, "failures/*.json"):
        try:
            entries = files.read_json(path)
        except (Damaged, FileNotFoundError):  # the latter: well again since the folder was listed
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
    state = integrity(run)
    doubtful = {run / name for name in (*state["damaged"], *state["unsealed"])}
    sealed = {_shards.named(path) for path in shards(run) if path not in doubtful}
    whole = {name for _, keys in plan(run) if (name := _name(keys)) in sealed}
    rest = set(_shards.keys(run, but=whole).to_pylist())
    counts = [
        (unit, len(keys), len(keys) if _name(keys) in whole else sum(key in rest for key in keys))
        for unit, keys in plan(run)
    ]
    if not counts:
        raise InputError(
            f"{run} is not a run directory: it has no plan.json; make one with `interp run EXPERIMENT.yaml`"
        )
    missing = [unit for unit, wanted, found in counts if found < wanted]
    return {
        "run": str(run),
        "units": len(counts),
        "done": len(counts) - len(missing),
        "missing": sorted(set(missing)),
        "results": sum(wanted for _, wanted, _ in counts),
        "results_done": sum(found for _, _, found in counts),
        "failures": failures(run),
        **state,
    }


def _files(run: Path) -> Iterator[Path]:
    """Every file of a run directory that carries a seal."""
    yield from (run / name for name in _SEALED if (run / name).is_file())
    for pattern in _FOLDERS:
        yield from _visible(run, pattern)


def _visible(run: Path, pattern: str) -> list[Path]:
    return sorted(path for path in run.glob(pattern) if not path.name.startswith("."))


def _name(keys: Iterable[str]) -> str:
    """The name of the shard that holds the results of these keys and no others."""
    return digest(sorted(set(keys)))
