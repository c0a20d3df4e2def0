"""Which runs are held out together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int

from interp.leads.panel import PER_RUN, Panel, Series

KINDS = ("run", "setting", "size", "task")


def folds(panel: Panel, kind: str, n_folds: int, seed: int) -> Int[np.ndarray, "run"]:
    """The fold of each run: no two folds share a run, setting, size or task (`kind`).

    By run, the folds are drawn at random within setting and outcome, so that each fold is a small copy of the whole.
    By setting, size or task, whole groups are dealt out, largest first, to the smallest fold.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    n_runs = len(panel.runs)
    if kind == "run":
        order = rng.permutation(n_runs)
        order = order[np.lexsort((panel.event[order], panel.setting[order]))]
        fold = np.empty(n_runs, int)
        fold[order] = np.arange(n_runs) % n_folds
        return fold
    group = groups(panel, kind)
    count = np.bincount(group)
    load, home = np.zeros(n_folds, int), np.empty(len(count), int)
    for code in np.argsort(-count, kind="stable"):
        home[code] = load.argmin()
        load[home[code]] += count[code]
    return np.unique(home[group], return_inverse=True)[1]


def groups(panel: Panel, kind: str) -> Int[np.ndarray, "run"]:
    """The code of each run's setting, size or task."""
    return {"setting": panel.setting, "size": panel.size, "task": panel.task_code}[kind]


def pooled(panels: Sequence[Panel]) -> Panel | None:
    """One panel of the runs of several tasks, with the series that all of them have; None for a single task or no
    such series.

    A run of two tasks counts twice, its settings apart, and each task's target under one name.
    """
    keys = [[_key(series, panel) for series in panel.series] for panel in panels]
    shared = [key for key in keys[0] if all(key in other for other in keys[1:])]
    if len(panels) < 2 or not any(role == "indicator" for _, _, _, role in shared):
        return None
    step = np.unique(np.concatenate([panel.step for panel in panels]))
    parts = [_on_grid(panel, step, [own.index(key) for key in shared]) for panel, own in zip(panels, keys, strict=True)]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    def recoded(codes: str, names: str) -> tuple[np.ndarray, tuple[str, ...]]:
        said = [
            f"{p.task}\x1f{getattr(p, names)[c]}" if codes == "setting" else getattr(p, names)[c]
            for p in parts
            for c in getattr(p, codes)
        ]
        unique, code = np.unique(said, return_inverse=True)
        return code, tuple(unique)

    setting, settings = recoded("setting", "settings")
    size, sizes = recoded("size", "sizes")
    own: dict[str, Any] = {name: joined(name) for name in PER_RUN if name not in ("setting", "size", "task_code")}
    own |= {"task_code": np.repeat(np.arange(len(parts)), [len(part.runs) for part in parts])}
    own |= {"setting": setting, "settings": settings, "size": size, "sizes": sizes}
    values = np.concatenate([part.values for part in parts], axis=1)
    return replace(
        parts[0], task="*", runs=tuple(r for part in parts for r in part.runs), step=step, values=values, **own
    )


def _key(series: Series, panel: Panel) -> tuple[str, str, int | None, str]:
    name = "target" if series.measure == panel.target and series.component == "" else series.measure
    return name, series.component, series.position, series.role


def _on_grid(panel: Panel, step: np.ndarray, keep: list[int]) -> Panel:
    """The panel with some of its series, as they stood at or before the steps of another grid that contains its own."""
    at = np.searchsorted(panel.step, step, side="right") - 1
    values = panel.values[keep][:, :, np.maximum(at, 0)]
    values[:, :, at < 0] = np.nan
    seen = np.zeros((len(panel.runs), len(step)), bool)
    seen[:, np.searchsorted(step, panel.step)] = panel.seen
    rising = panel.rising[:, np.maximum(at, 0)]
    return replace(
        panel, step=step, seen=seen, rising=rising, values=values, series=tuple(panel.series[i] for i in keep)
    )
