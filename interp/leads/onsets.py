"""The first stretch of the road: when each indicator itself moves, beside the jump of the behaviour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from interp.jumps import onset
from interp.leads.panel import target_events
from interp.leads.spec import Spec, read_spec
from interp.table import CURVE, read_table
from interp.table.events import Change, choose_target, run_facts, target_rows, tick


def events(
    table: pd.DataFrame | str | Path,
    *,
    target: str | None = None,
    spec: Spec | Mapping[str, Any] | None = None,
    jumps: Iterable[Change] | None = None,
) -> pd.DataFrame:
    """One row a run and task: run, task, target, setting, size, T and middle (NaN where censored), event, budget
    (known up to). The leaderboard's events (`interp.table.events`). jumps: records that `find_jumps` gave, if any."""
    spec, full = read_spec(spec), read_table(table)
    jumps = None if jumps is None else list(jumps)
    rows = []
    for task in sorted(full.loc[full["kind"] == "behaviour", "task"].unique()):
        name = choose_target(full, task, target or spec.target)
        goal = target_rows(full, task, name)
        found = target_events(goal, spec, jumps)
        for run, fact in run_facts(goal).iterrows():
            event = found[str(run)]
            T, middle = (x if np.isfinite(x) else np.nan for x in (event.T, event.middle))
            end = min(fact["planned"], fact["last"])
            rows.append((run, task, name, fact["setting"], fact["size"], T, middle, T == T, end))
    names = ["run", "task", "target", "setting", "size", "T", "middle", "event", "budget"]
    return pd.DataFrame(rows, columns=names)


def lead_times(
    table: pd.DataFrame | str | Path,
    *,
    target: str | None = None,
    spec: Spec | None = None,
    jumps: Iterable[Change] | None = None,
) -> pd.DataFrame:
    """The own onset of every indicator in every run, by the jump detector, and how long before the jump it was.

    One row a run and indicator curve: run, task, target, setting, indicator, component, position, online, T, event,
    budget, onset (last checkpoint below 10 % of the indicator's first change, up or down; NaN without one),
    lead_steps = T − onset, lead = lead_steps / T. Censored runs are kept, without a lead: an indicator that moves in
    them too has warned of nothing.
    """
    full = read_table(table)
    found = events(full, target=target, spec=spec, jumps=jumps)
    rows = full[(full["kind"] == "indicator") & np.isfinite(full["value"])].sort_values("step", kind="stable")
    online = rows.groupby("measure")["online"].all()
    moved = []
    for key, part in rows.groupby(CURVE, sort=True):
        first = onset(part["step"].to_numpy(float), part["value"].to_numpy(float), measure=str(key[2]))
        changed = first.kind in ("abrupt", "gradual") and first.step_before is not None
        step = tick(np.array([first.step_before, *part["step"]], float))[0] if changed else np.nan
        moved.append((*key, bool(online[key[2]]), step))
    frame = pd.DataFrame(moved, columns=[*CURVE, "online", "onset"]).rename(columns={"measure": "indicator"})
    out = frame.merge(found.drop(columns=["size", "middle"]), on=["run", "task"], how="inner")
    return out.assign(lead_steps=out["T"] - out["onset"], lead=1 - out["onset"] / out["T"])


def align(table: pd.DataFrame | str | Path, *, target: str | None = None, spec: Spec | None = None) -> pd.DataFrame:
    """The rows of the runs that jump, with `relative` = log10(step/T): 0 is the jump, −1 a tenth of its step."""
    full = read_table(table)
    found = events(full, target=target, spec=spec)
    rows = full.merge(found.loc[found["event"], ["run", "task", "T"]], on=["run", "task"], how="inner")
    return rows.assign(relative=np.log10(tick(rows["step"].to_numpy(float)) / rows["T"]))
