"""What interventions during training did to the event, over paired seeds, beside placebos."""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments.study.protocol import Protocol
from experiments.study.rows import CAUSES, own_target, target_name
from interp.errors import InputError

SHOWN = ("setting", "name", "dose", "is_placebo", "verdict", "reason", "effect", "low", "high", "median_low", "median_high", "at_budget",
         "n_pairs", "n", "n_stopped", "n_started", "n_neither", "p", "vs_placebo", "vs_effect", "vs_low", "vs_high",
         "vs_n_pairs")  # fmt: skip


def causes(tables: dict[str, pd.DataFrame], protocol: Protocol) -> dict[str, Any]:
    """By family: effects and slopes as `interp.intervention_effects` gives them; a family without pairs says why."""
    effects: list[dict[str, Any]] = []
    slopes: list[dict[str, Any]] = []
    notes: dict[str, str] = {}
    if tables:
        from interp.leads.causal import intervention_effects

    for family, table in sorted(tables.items()):
        entry = protocol.families.get(family.removesuffix(CAUSES))
        if entry is None:
            raise InputError(f"the protocol has no family {family.removesuffix(CAUSES)!r} that {family!r} is of")
        if entry.get("component"):
            table = own_target(table, entry["component"])
        try:
            found = intervention_effects(table, base="base", target=target_name(entry), spec=protocol.leads)
        except InputError as error:
            notes[family] = str(error)
            continue
        effects += [{"family": family} | {name: row[name] for name in SHOWN} for row in found.effects]
        slopes += [
            {"family": family} | {key: row[key] for key in ("name", "slope", "low", "high", "n")}
            for row in found.slopes
        ]
        notes[family] = "; ".join(found.notes)
    return {"effects": effects, "slopes": slopes, "notes": notes}
