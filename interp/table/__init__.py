"""The table: one row a value, from a sweep's store, a recorder, a file, or a folder of evaluation logs. No torch here."""

from interp.table.contract import (
    COLUMNS,
    CURVE,
    DEFAULTS,
    FACTS,
    KINDS,
    REQUIRED,
    read_table,
)
from interp.table.export import export_csv, write_csv
from interp.table.harness import read_harness

__all__ = [
    "COLUMNS",
    "CURVE",
    "DEFAULTS",
    "FACTS",
    "KINDS",
    "REQUIRED",
    "export_csv",
    "read_harness",
    "read_table",
    "write_csv",
]
