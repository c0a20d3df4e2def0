"""How often curves of behaviour jump: every change of every curve, found once for boards and prevalence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.study.protocol import Protocol
from experiments.study.rows import own_target
from interp.jumps import find_jumps
from interp.prevalence import Prevalence, prevalence
from interp.table import read_table
from interp.table.events import Change

PLANTED, DRAWS = 24, 300  # a choice: minutes over all measures; intervals move by .01 with twice as many
OF_A_CURVE = ["run", "task", "step", "measure", "component", "position", "value", "stderr", "n"]


def changes(table: pd.DataFrame, protocol: Protocol) -> list[Change]:
    """Every change of a family's curves of behaviour, sub-tasks and digits as `by_part` names them."""
    return find_jumps(by_part(table)[OF_A_CURVE], min_magnitude=protocol.leads.min_magnitude, models=False)


def by_part(table: pd.DataFrame) -> pd.DataFrame:
    """Behaviours with components as measures (`subtask1_accuracy`) and with positions as tasks (`addition digit 0`) of their own."""
    table = table[table["kind"] == "behaviour"]
    for component in sorted(set(table["component"]) - {""}):
        table = own_target(table, component)
    digit = table["position"].where(table["position"] == "", " digit " + table["position"])
    return table.assign(task=table["task"] + digit, position="")


def own_prevalence(
    tables: Mapping[str, pd.DataFrame], found: Mapping[str, list[Change]], protocol: Protocol
) -> dict[str, Any]:
    """Over the runs of all families but the controls. found: `changes` by family."""
    parts = [by_part(table[~table["setting"].isin(protocol.controls(family))]) for family, table in tables.items()]
    whole = read_table(pd.concat(parts, ignore_index=True))
    every = [change for own in found.values() for change in own]
    made = prevalence(
        whole, by="family", jumps=every, min_magnitude=protocol.leads.min_magnitude, n_planted=PLANTED, draws=DRAWS
    )
    return _told(made)


def published(folder: Path) -> dict[str, Any]:
    """Over the evaluation logs that were published with the Pythia models (each folder a run's)."""
    found = prevalence(read_table(folder), by="size", n_planted=PLANTED, draws=DRAWS)
    return {"source": "zero-shot evaluation logs of EleutherAI/pythia, evals/pythia-v1, Apache-2.0", **_told(found)}


def _told(found: Prevalence) -> dict[str, Any]:
    made = found.to_json()
    return {key: made[key] for key in ("shares", "undetermined", "power", "moderators", "notes")}
