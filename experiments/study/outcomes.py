"""What became of the runs: events by setting, their kinds, what is censored, and whether controls stay put."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.study.boards import Judged
from experiments.study.protocol import Protocol
from interp.leads.panel import target_events
from interp.table.events import run_facts, target_rows


def outcomes(judged: Sequence[Judged], protocol: Protocol) -> dict[str, Any]:
    """By family and setting: runs, events and their kinds, T as quantiles and its spread over seeds, and for the rest why
    there is no event. Controls apart; those of both parts are counted once."""
    settings: dict[tuple[str, str], dict[str, Any]] = {}
    for each in judged:
        goal = target_rows(each.table, each.panel.task, each.panel.target)
        events, facts = target_events(goal, each.spec, each.jumps), run_facts(goal)
        for run, fact in facts.iterrows():
            key = each.family, str(fact["setting"])
            entry = settings.setdefault(key, {"runs": {}, "budget": float(fact["planned"])})
            entry["runs"][str(run)] = (events[str(run)], float(fact["start"]), float(fact["end"]))
    rows = [_told(*key, entry, protocol) for key, entry in sorted(settings.items())]
    main = [row for row in rows if not row["control"]]
    n, events = sum(row["n_runs"] for row in main), sum(row["n_events"] for row in main)
    kinds = Counter(kind for row in main for kind, count in row["kinds"].items() for _ in range(count))
    held = [row for row in rows if row["control"]]
    return {
        "settings": rows, "n_runs": n, "n_events": events, "censored": 1 - events / n if n else np.nan,
        "kinds": dict(sorted(kinds.items())),
        "n_families": len({row["family"] for row in rows}), "n_controls": sum(row["n_runs"] for row in held),
        "controls_that_jump": sum(row["n_events"] for row in held),
        "spread": float(np.median([row["spread"] for row in main if np.isfinite(row["spread"])] or [np.nan])),
    }  # fmt: skip


def _told(family: str, setting: str, entry: dict[str, Any], protocol: Protocol) -> dict[str, Any]:
    found = list(entry["runs"].values())
    T = np.sort([event.T for event, _, _ in found if np.isfinite(event.T)])
    kinds = Counter(str(event.change.kind) for event, _, _ in found if event.change is not None)
    why = Counter(event.reason or "no change" for event, _, _ in found if event.change is None)
    low, middle, high = np.quantile(T, [0, 0.5, 1]) if len(T) else (np.nan,) * 3
    return {
        "family": family, "setting": setting, "control": setting in protocol.controls(family), "budget": entry["budget"],
        "n_runs": len(found), "n_events": len(T), "kinds": dict(sorted(kinds.items())), "first": low, "median": middle, "last": high,
        "spread": float(np.std(np.log10(T), ddof=1)) if len(T) > 2 else np.nan,
        "start": float(np.mean([start for _, start, _ in found])), "end": float(np.mean([end for _, _, end in found])),
        "without": dict(sorted(why.items())),
    }  # fmt: skip
