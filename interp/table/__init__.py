"""The table: one row a value, from a sweep's store, a recorder, a file, or a folder of evaluation logs. No torch here."""

from interp.table.contract import (
    COLUMNS,
    CURVE,
    DEFAULTS,
    FACTS,
    KINDS,
    REQUIRED,
    read_table,
    write_csv,
)
from interp.table.harness import read_harness

__all__ = ["COLUMNS", "CURVE", "DEFAULTS", "FACTS", "KINDS", "REQUIRED", "read_harness", "read_table", "write_csv"]
