"""At which steps a run is stored."""

from __future__ import annotations


def schedule(steps: int, *, log: int = 0, every: int = 0) -> tuple[int, ...]:
    """Step 0, the last step, `log` steps spaced evenly in log(step) from 1 to `steps`, and every multiple of `every`.

    Ascending and without repeats: at the low end fewer than `log` whole numbers are distinct.
    """
    chosen = {0, steps}
    for i in range(log):
        chosen.add(round(steps ** (i / max(log - 1, 1))))
    if every:
        chosen.update(range(0, steps + 1, every))
    return tuple(sorted(chosen))
