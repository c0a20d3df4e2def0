"""The shards of a run directory: one table in many files, read one after the other, so that what is in memory goes by the part
that is looked at and not by the table."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp import files
from interp.errors import Damaged, InputError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

IDENTITY = ("run", "step", "task", "measure", "component", "position", "key")
PART_ROWS = 20_000
"""Rows of a part, at least, where there are as many. A choice: some 20 MB while it is written as text; fewer rows cost time,
because every part is checked on its own."""

SUCCESSORS = 3
"""How often a shard may be replaced while it is looked for. A choice: a unit is measured as often as processes fail, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shard:
    """A file, where its rows begin and end in the order of (run, step), and how many they are."""

    path: Path
    first: tuple[Any, ...]
    last: tuple[Any, ...]
    n_rows: int


def shards(run: Path) -> list[Path]:
    """The shards of a run directory, in order of their names."""
    return sorted(path for path in (run / "shards").glob("*.parquet") if not path.name.startswith("."))


def named(shard: Path) -> str:
    """The name of a shard without its seal: it tells which keys are in it."""
    return shard.stem.partition("-")[0]


def keys(run: Path, *, but: Collection[str] = ()) -> pa.ChunkedArray:
    """The keys of every result in the store, some of them several times. A damaged shard has none.

    but: names of shards that are not asked.

    Raises:
        OSError: a shard that may not be read.
    """
    import pyarrow as pa

    found = []
    for shard in shards(run):
        if named(shard) in but:
            continue
        try:
            found += _table(shard, ["key"])["key"].cast(pa.string()).chunks
        except Damaged:
            continue
    return pa.chunked_array(found, pa.string())


def parts(run: Path, planned: pa.Array | None, whole: Collection[str]) -> Iterator[pd.DataFrame]:
    """The rows of the shards named in `whole`, and of the others those whose key is in `planned` (all, where it is None), each
    once, in the order of IDENTITY, a part of them at a time. A part has all columns of the table, and all rows of its runs'
    steps.

    Raises:
        Damaged: a shard is; before the first part.
        InputError: the shards do not fit together.
        OSError: a shard that may not be read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        schemas: dict[str, pa.Schema] = {}
        there = sorted((_described(path, schemas) for path in shards(run)), key=lambda shard: shard.first)
        schema = pa.unify_schemas(list(schemas.values()), promote_options="permissive")

        def table(group: list[_Shard]) -> pa.Table:
            tables = [schema.empty_table(), *(_table(shard.path) for shard in group)]
            return pa.concat_tables(tables, promote_options="permissive")

        for group in _groups(there):
            rows = table([shard for shard in group if planned is None or named(shard.path) in whole])
            rest = [shard for shard in group if planned is not None and named(shard.path) not in whole]
            if rest:
                others = table(rest)
                rows = pa.concat_tables([rows, others.filter(pc.is_in(others["key"], planned))])
            frame = _rows(rows, each_once=planned is not None)
            if len(frame):
                yield frame
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise InputError(f"the shards of {run} do not fit together: {error}") from error


def _rows(table: pa.Table, *, each_once: bool) -> pd.DataFrame:
    """A part in order; each_once: an identity has one row."""
    frame = table.to_pandas()
    identity = [name for name in IDENTITY if name in frame.columns]
    frame = frame.drop_duplicates(identity if each_once else None)
    return frame.sort_values(identity, kind="stable", ignore_index=True)


def _groups(whole: list[_Shard]) -> Iterator[list[_Shard]]:
    """Shards in order, as many as have PART_ROWS rows together, cut where no (run, step) is on both sides."""
    group: list[_Shard] = []
    for shard in whole:
        enough = sum(one.n_rows for one in group) >= PART_ROWS
        if enough and shard.first > max(one.last for one in group):
            yield group
            group = []
        group.append(shard)
    if group:
        yield group


def _described(path: Path, schemas: dict[str, pa.Schema]) -> _Shard:
    """Where a shard's rows lie; what columns it has is added to the `schemas`."""
    file = _opened(path)
    schema = file.schema_arrow.remove_metadata()
    ends = [_ends(file, schema.names.index(name)) for name in IDENTITY[:2] if name in schema.names]
    first, last = (tuple(end[which] for end in ends) for which in (0, 1))
    schemas.setdefault(str(schema), schema)
    return _Shard(path=path, first=first, last=last, n_rows=file.metadata.num_rows)


def _ends(file: parquet.ParquetFile, column: int) -> tuple[Any, Any]:
    """The least and the greatest value of a column; from the file's own statistics where it has them."""
    import pyarrow.compute as pc

    groups = [file.metadata.row_group(index).column(column).statistics for index in range(file.metadata.num_row_groups)]
    if groups and all(group is not None and group.has_min_max for group in groups):
        return min(group.min for group in groups), max(group.max for group in groups)
    found = pc.min_max(file.read(columns=[file.schema_arrow.names[column]], use_threads=False).column(0)).as_py()
    return found["min"], found["max"]


def _table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """What a shard holds.

    Raises:
        Damaged: it is not what was written.
    """
    file = _opened(path)
    try:
        return file.read(columns=columns, use_threads=False)
    except (OSError, ValueError) as error:
        raise files.damaged(path) from error


def _opened(path: Path) -> parquet.ParquetFile:
    """A shard, read once and checked, to be parsed in memory."""
    import pyarrow as pa
    from pyarrow import parquet

    content = _content(path)
    try:
        return parquet.ParquetFile(pa.BufferReader(content))
    except (OSError, ValueError) as error:
        raise files.damaged(path) from error


def _content(path: Path) -> bytes:
    """What is in a shard, or in the one that has taken its place since the folder was listed: two processes may have measured
    the same unit, and the second replaces what the first wrote."""
    for _ in range(SUCCESSORS):
        try:
            return files.read_shard(path)
        except FileNotFoundError:
            path = next(iter(sorted(path.parent.glob(f"{named(path)}*.parquet"))), path)
    return files.read_shard(path)
