"""What interventions during training did to the event, over paired seeds, beside placebos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from experiments.study.protocol import Protocol
from experiments.study.rows import CAUSES, own_target, target_name
from interp.errors import InputError
from interp.leads.causal import intervention_effects

SHOWN = ("setting", "name", "dose", "is_placebo", "verdict", "reason", "effect", "low", "high", "median_low", "median_high", "at_budget",
         "n_pairs", "n", "n_stopped", "n_started", "n_neither", "p", "vs_placebo", "vs_effect", "vs_low", "vs_high",
         "vs_n_pairs")  # fmt: skip


def causes(tables: Mapping[str, pd.DataFrame], protocol: Protocol) -> dict[str, Any]:
    """By family: effects and slopes as `interp.intervention_effects` gives them, on the plain model and, where the behaviour was
    also measured under the intervention, on the model under it; a family without pairs says why."""
    effects: list[dict[str, Any]] = []
    slopes: list[dict[str, Any]] = []
    notes: dict[str, str] = {}
    for family, table in sorted(tables.items()):
        entry = protocol.families.get(family.removesuffix(CAUSES))
        if entry is None:
            raise InputError(f"the protocol has no family {family.removesuffix(CAUSES)!r} that {family!r} is of")
        if entry.get("component"):
            table = own_target(table, entry["component"])
        plain = target_name(entry)
        for target in [name for name in (plain, f"{plain}_under") if name in set(table["measure"])]:
            try:
                spec = protocol.leads
                found = intervention_effects(
                    table, base="base", target=target, direction=entry.get("direction"), spec=spec
                )
            except InputError as error:
                notes[f"{family}, {target}"] = str(error)
                continue
            about = {"family": family.removesuffix(CAUSES), "target": target, "under": target != plain}
            effects += [about | {name: row[name] for name in SHOWN} for row in found.effects]
            slopes += [about | {key: row[key] for key in ("name", "slope", "low", "high", "n")} for row in found.slopes]
            notes[f"{family}, {target}"] = "; ".join(found.notes)
    return {"effects": effects, "slopes": slopes, "notes": notes}
