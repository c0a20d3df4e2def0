"""Rows for loops: of a DataFrame, and of records."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Any

import pandas as pd


def rows_of(frame: pd.DataFrame) -> list[Any]:
    """The rows as named tuples."""
    return list(frame.itertuples())


def records_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def as_dict(record: Any) -> dict[str, Any]:
    """A dataclass or mapping as a dictionary."""
    return asdict(record) if is_dataclass(record) and not isinstance(record, type) else dict(record)
