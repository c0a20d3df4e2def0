"""When the circuit formed, beside the jump in behaviour, and what it was like at every checkpoint, as tables.

Made of what was stored of each circuit (`interp.report.sources`). Nothing after a checkpoint is used for what is said
of it, except where it is called hindsight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from interp.figures.scores import scores
from interp.report.outcomes import as_table, behaviour, outcomes, target_curves
from interp.report.rows import rows_of
from interp.table.forming import STRICT, Presence, presences, similarity, when_formed

Circuits = Mapping[tuple[str, str], Mapping[float, Any]]
"""(run, task) → {step: circuit as JSON, with its `formation`}."""

COLUMNS = [
    "run",
    "task",
    "formed_before",
    "formed_after",
    "band_before",
    "band_after",
    "declared_at",
    "share",
    "model_before",
    "model_after",
    "presences",
    "lost_before",
    "lost_after",
    "replaced",
    "replaced_before",
    "replaced_after",
    "strict_before",
    "strict_after",
    "strict_lost_before",
    "strict_lost_after",
    "n_prompts",
    "noise_floor",
    "edges",
    "total_edges",
    "first_step",
    "last_step",
    "jumped",
    "jump_before",
    "jump_after",
    "lead_steps",
    "lead",
    "strict_lead_steps",
]
HINDSIGHT = "final_circuit"
TRANSFER = "circuit_transfer"
ROLE = "role: "


def formation_data(circuits: Circuits, table: Any, jumps: Any = None) -> pd.DataFrame:
    """One row a run and task whose circuits were tried on other prompts: the formation interval (NaN: it did not form;
    only `formed_before` NaN: it was there from the start), its band over resampled prompts, the step at which it was
    known, the share of resamplings that have it, when the whole model was there by the same criterion, and the
    behaviour's jump.

    noise_floor: similarity of the circuits of two sets of prompts, when it had formed (else at the end). edges: how
    many it needed then, NaN where none are enough. presences: how many stretches over which it (or one of several
    circuits) carried its prompts; lost: when the first of them ended. replaced: how
    often another circuit took over the same prompts (NaN where it was not stored what the circuit before still carries), and
    when first. strict: the same by the criterion that behaviour is
    judged by, the circuit alone gives the right answer among all. lead_steps: the least lead over the behaviour,
    T − formed_after with T the jump's `step_before`; lead: that ÷ T; strict_lead_steps: T − strict_after.
    """
    table = as_table(table)
    jumped = {
        (str(row.run), task): (row.step_before, row.step_after)
        for task, measure in target_curves(table)
        for row in rows_of(outcomes(table, jumps, task, measure))
        if row.jumped
    }
    rows = []
    for (run, task), trajectory in circuits.items():
        if any("formation" in circuit for circuit in trajectory.values()):
            before, after = jumped.get((run, task), (np.nan, np.nan))
            ends = {"jumped": (run, task) in jumped, "jump_before": before, "jump_after": after}
            rows.append({"run": run, "task": task, **_formed(trajectory), **ends})
    data = pd.DataFrame(rows, columns=COLUMNS)
    lead = data["jump_before"] - data["formed_after"]
    share = lead / data["jump_before"].where(data["jump_before"] > 0)
    return data.assign(lead_steps=lead, lead=share, strict_lead_steps=data["jump_before"] - data["strict_after"])


def trajectory_data(circuits: Circuits, table: Any) -> pd.DataFrame:
    """What the circuit was at every checkpoint, one row a value: run, task, step, quantity, value, head, online.

    Quantities: `carried` (share of held-out prompts), `whole` (the same for the whole model), `strict` (share on which the
    circuit alone gives the right answer among all), `inherited` (share that the previous checkpoint's circuit still carries),
    `similarity` (to the previous checkpoint's circuit), `noise_floor`, `edges` (share of all that 80 % faithfulness needs), `role: …` (the
    best head's), `behaviour` (the curve that counts), and `final_circuit` (hindsight) and `circuit_transfer` where they
    were measured.
    """
    table = as_table(table)
    rows = [row for (run, task), trajectory in circuits.items() for row in _quantities(run, task, trajectory)]
    curve, alone = behaviour(table), table[table["component"] == ""]
    parts = [pd.DataFrame(rows, columns=["run", "task", "step", "quantity", "value", "head", "online"])]
    for task, measure in target_curves(table):
        parts.append(curve[(curve["task"] == task) & (curve["measure"] == measure)].assign(quantity="behaviour"))
    for name in (HINDSIGHT, TRANSFER):
        parts.append(alone[alone["measure"] == name].assign(quantity=name))
    known = {(str(run), str(task)) for run, task in circuits}
    found = pd.concat(
        [part.reindex(columns=parts[0].columns) for part in parts if len(part)] or parts, ignore_index=True
    )
    mine = [pair in known for pair in zip(found["run"], found["task"], strict=True)]
    return found[mine].assign(head=found["head"].fillna("")).sort_values(["run", "task", "quantity", "step"])


def _formed(trajectory: Mapping[float, Any]) -> dict[str, Any]:
    """The formation of one run, as the first columns of `formation_data` have it."""
    steps = [step for step in sorted(trajectory) if "formation" in trajectory[step]]
    carried, whole = (
        np.array([trajectory[step]["formation"][name] for step in steps], dtype=bool) for name in ("carried", "whole")
    )
    when = when_formed([int(step) for step in steps], carried)
    model = when_formed([int(step) for step in steps], whole, n_resamples=0).interval
    then = trajectory[steps[-1] if when.interval is None else when.interval[1]]
    ends = [end for interval in (when.interval, when.band, model) for end in interval or (None, None)]
    names = [f"{name}_{end}" for name in ("formed", "band", "model") for end in ("before", "after")]
    weak = presences([int(step) for step in steps], carried, inherited=_inherited(trajectory, steps), n_resamples=0)
    replaced = sorted({times for each in weak for times in each.replaced})
    unknown = all("inherited" not in trajectory[step]["formation"] for step in steps[1:])
    found = {
        **dict(zip(names, ends, strict=True)),
        "presences": len(weak),
        **_first(weak, "", "lost"),
        "replaced": None if unknown else len(replaced),
        **dict(zip(("replaced_before", "replaced_after"), [*replaced, (None, None)][0], strict=True)),
        **_first(_strict(trajectory, steps), "strict", "strict_lost"),
        "declared_at": when.declared_at,
        "share": when.share,
        "n_prompts": carried.shape[1],
        "noise_floor": then["formation"]["noise_floor"],
        "edges": sum(inside for _, _, inside in then["edges"]) or None,
        "total_edges": len(then["edges"]),
        "first_step": steps[0],
        "last_step": steps[-1],
    }
    return {name: np.nan if value is None else float(value) for name, value in found.items()}


def _inherited(trajectory: Mapping[float, Any], steps: list[float]) -> np.ndarray:
    """What the circuit before still carries, [step, prompt]; where it was not stored, what is carried."""
    trials = [trajectory[step]["formation"] for step in steps]
    kept = (trial["carried"] if trial.get("inherited") is None else trial["inherited"] for trial in trials)
    return np.array(list(kept), dtype=bool)


def _strict(trajectory: Mapping[float, Any], steps: list[float]) -> tuple[Presence, ...]:
    """Presences by the strict criterion; none where it was not stored."""
    right = [trajectory[step]["formation"].get("strict") for step in steps]
    if any(each is None for each in right):
        return ()
    carried = np.array(right, dtype=bool)
    return presences([int(step) for step in steps], carried, threshold=STRICT, chance=0.0, n_resamples=0)


def _first(found: tuple[Presence, ...], formed: str, lost: str) -> dict[str, Any]:
    """When the first presence began (where `formed` names it) and ended."""
    ends: dict[str, tuple[int | None, int | None]] = {formed: (None, None), lost: (None, None)}
    if found:
        ends = {formed: found[0].formed, lost: found[0].lost or (None, None)}
    return {
        f"{name}_{end}": value[at] for name, value in ends.items() if name for at, end in enumerate(("before", "after"))
    }


def _quantities(run: str, task: str, trajectory: Mapping[float, Any]) -> Iterator[tuple[Any, ...]]:
    previous = None
    for step in sorted(trajectory):
        circuit = trajectory[step]
        trial, sizes = circuit.get("formation"), _sizes(circuit)
        if trial is None:
            continue
        inside = sum(inside for _, _, inside in circuit["edges"])
        found = {
            "carried": float(np.mean(trial["carried"])),
            "whole": float(np.mean(trial["whole"])),
            "strict": float(np.mean(trial["strict"])) if "strict" in trial else np.nan,
            "inherited": float(np.mean(trial["inherited"])) if trial.get("inherited") is not None else np.nan,
            "similarity": np.nan if previous is None else similarity(sizes, previous),
            "noise_floor": trial["noise_floor"],
            "edges": inside / len(circuit["edges"]) if inside else np.nan,
        }
        yield from ((run, task, step, name, value, "", True) for name, value in found.items())
        yield from ((run, task, step, ROLE + role, value, head, True) for role, (head, value) in trial["roles"].items())
        previous = sizes


def _sizes(circuit: Mapping[str, Any]) -> dict[str, float]:
    """Edge → |score|, of all edges; of the nodes where only these have scores."""
    edges = {name: abs(score) for name, score, _ in circuit["edges"] if score is not None}
    return edges or {name: abs(score) for name, score in scores(circuit)[0].items()}
