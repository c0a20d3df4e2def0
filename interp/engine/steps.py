"""Which of a run's stored checkpoints an experiment looks at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from interp.engine.config import Steps
from interp.errors import InputError


def choose_steps(available: Sequence[int], steps: Steps) -> list[int]:
    """Which of the stored steps to look at; the first and the last are always among them, except in an explicit list.

    Raises:
        InputError: a listed step is not stored.
    """
    available = sorted(available)
    if isinstance(steps, str):
        return available
    if isinstance(steps, Mapping):
        if "every" in steps:
            return sorted({*available[:: steps["every"]], available[-1]})
        return _log_spaced(available, steps["log"])
    for step in steps:
        if step not in available:
            near = min(available, key=lambda stored: abs(stored - step))
            raise InputError(f"step {step} is not stored; the nearest is {near}")
    return sorted(steps)


def _log_spaced(available: Sequence[int], n: int) -> list[int]:
    """About n of the steps, nearest to even spacing in log(step); step 0 stands before the first positive one."""
    positive = [step for step in available if step > 0]
    if not positive or n >= len(available):
        return list(available)
    low, high = math.log(positive[0]), math.log(positive[-1])
    wanted = [math.exp(low + (high - low) * i / max(n - 1, 1)) for i in range(n)]
    chosen = {min(positive, key=lambda step: abs(math.log(step / target))) for target in wanted}
    return sorted({available[0], *chosen, available[-1]})
