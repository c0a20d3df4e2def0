"""The steps that a card lists: numbers, ranges, or names with their steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from interp.documents.records import LABEL, MOST, is_whole

MAX_STEPS = 1_000_000
"""Of a card. A choice: as many as a run of a million steps can store."""


def are_steps(steps: Any) -> bool:
    if isinstance(steps, str):
        return steps in ("hub", "unknown")
    if isinstance(steps, Mapping):
        numbers = list(steps.values())
        return all(map(LABEL.test, steps)) and are_steps(numbers) and len(set(numbers)) == len(numbers)
    if not isinstance(steps, list | tuple) or not steps:
        return False
    ranges = [entry for entry in steps if not is_whole(entry)]
    if not all(isinstance(entry, list | tuple) and len(entry) == 3 and all(map(is_whole, entry)) for entry in ranges):
        return False
    if not all(first <= last and by > 0 and (last - first) // by < MAX_STEPS for first, last, by in ranges):
        return False
    if sum((last - first) // by + 1 for first, last, by in ranges) + len(steps) > 2 * MAX_STEPS:
        return False
    found = listed_steps(steps)
    return found[0] >= 0 and found[-1] <= MOST and len(found) <= MAX_STEPS


def listed_steps(steps: Sequence[int | Sequence[int]] | Mapping[str, int]) -> list[int]:
    """The steps of a card's list (or of its names), in which [first, last, by] stands for first, first + by, … up to last; ascending."""
    found: set[int] = set()
    for entry in steps.values() if isinstance(steps, Mapping) else steps:
        if isinstance(entry, int):
            found.add(entry)
        else:
            first, last, by = entry
            found.update(range(first, last + 1, by))
    return sorted(found)
