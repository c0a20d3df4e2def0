"""What commands print: JSON with --json, lines otherwise."""

from __future__ import annotations

import json
from typing import Any


def show(found: Any, as_json: bool) -> None:
    """JSON, or a line for each entry."""
    if as_json:
        print_json(found)
    elif isinstance(found, dict):
        for key, value in found.items():
            print(f"{key}: {value}")
    else:
        print("\n".join(map(str, found)))


def print_json(found: Any) -> None:
    print(json.dumps(found, indent=1, default=str))
