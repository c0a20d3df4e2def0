"""Every number of the report, from the table alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from experiments.language.measuring import CORPUS, HERE, TABLE
from interp.jumps.find import find_jumps, onset
from interp.table import read_table

RESULTS = HERE / "results.json"
BEHAVIOURS = (
    ("python_source", "test_loss"),
    ("python_source", "in_context_score"),
    ("induction", "log_prob"),
    ("induction", "exact_match"),
    ("python_names", "exact_match"),
    ("python_names", "logit_diff"),
    ("python_brackets", "exact_match"),
    ("python_brackets", "logit_diff"),
    ("python_indentation", "exact_match"),
    ("python_counting", "exact_match"),
    ("python_counting", "log_prob"),
)
HEADS = ("previous_token", "prefix_matching", "copying", "k_composition")
EARLY, LATE = (8, 24), (112, 128)
"""Positions, from 0: on 128 tokens what positions 50 and 500 of 512 are in Olsson et al. 2022, each with its neighbours."""


def results(table: pd.DataFrame | None = None) -> dict[str, Any]:
    """Corpus, ends, jumps, formation: plain data for results.json."""
    rows = read_table(TABLE) if table is None else table
    rows = rows.assign(value=rows["value"].astype(float), step=rows["step"].astype(int))
    curves = pd.concat([rows, best_heads(rows), by_position(rows)])
    return {
        "corpus": json.loads(CORPUS.read_text(encoding="utf-8")),
        "runs": {run: int(step) for run, step in rows.groupby("run")["step"].max().items()},
        "budget": int(rows["budget"].astype(float).max()),
        "tokens": int(rows["tokens"].astype(float).max()),
        "n_params": {size: int(n) for size, n in rows.groupby("size")["n_params"].first().items()},
        "checkpoints": {run: int(n) for run, n in rows.groupby("run")["step"].nunique().items()},
        "ends": ends(curves),
        "jumps": jumps(rows),
        "formation": formation(curves),
        "turns": turns(rows),
    }


def best_heads(rows: pd.DataFrame) -> pd.DataFrame:
    """At each checkpoint the largest value over heads, `best_…`; and the largest of the first layer's previous-token scores,
    where an induction head's own have to be written before it reads them."""
    heads = rows[rows["measure"].isin(HEADS)].dropna(subset=["value"])
    made = []
    for name, part in (("best", heads), ("first_layer", heads[heads["component"].str.startswith("L0")])):
        largest = part.loc[part.groupby(["run", "measure", "step"])["value"].idxmax()]
        made.append(largest.assign(measure=f"{name}_" + largest["measure"], component="", kind="indicator"))
    return pd.concat(made)


def by_position(rows: pd.DataFrame) -> pd.DataFrame:
    """`late_minus_early`: the in-context score at the places of the paper, from the loss by position."""
    losses = rows[rows["measure"] == "position_loss"]
    place = losses["position"].astype(int)
    means = [
        losses[(place >= low) & (place < high)].groupby(["run", "step"])["value"].mean() for low, high in (LATE, EARLY)
    ]
    about = losses[place == 0].set_index(["run", "step"])
    return about.assign(
        value=means[0] - means[1], measure="late_minus_early", position="", kind="behaviour"
    ).reset_index()


def ends(curves: pd.DataFrame) -> list[dict[str, Any]]:
    """First and last value of each run of every measure without a position or component, mean over seeds with a 95 %
    interval."""
    plain = curves[(curves["component"] == "") & (curves["position"] == "")]
    found = []
    for (size, task, measure), part in plain.groupby(["size", "task", "measure"]):
        ordered = part.sort_values("step").groupby("run")["value"]
        first, last = ordered.first(), ordered.last()
        found.append({"size": size, "task": task, "measure": measure, "first": number(first.mean()), **interval(last)})
    return found


def jumps(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What the detector says of each behaviour of each run, and of the runs of a size together."""
    chosen = rows[[(task, measure) in BEHAVIOURS for task, measure in zip(rows["task"], rows["measure"], strict=True)]]
    fields = ("run", "setting", "task", "measure", "kind", "step_before", "step_after", "midpoint", "width_decades", "magnitude",
              "left_censored", "p_value")  # fmt: skip
    found = find_jumps(chosen, models=False)
    return [{field: number(getattr(jump, field)) for field in fields} for jump in found]


def formation(curves: pd.DataFrame) -> dict[str, Any]:
    """Half-way steps of heads and behaviours, run by run, and how far each head lies from each behaviour in log2 step."""
    wanted = [
        ("python_source", "first_layer_previous_token"),
        ("python_source", "best_previous_token"),
        ("python_source", "best_prefix_matching"),
        ("python_source", "in_context_score"),
        ("python_source", "late_minus_early"),
        ("induction", "log_prob"),
        ("induction", "exact_match"),
        ("python_names", "logit_diff"),
    ]
    halves: dict[str, dict[str, Any]] = {}
    for task, measure in wanted:
        part = curves[(curves["task"] == task) & (curves["measure"] == measure)]
        for run, curve in part.sort_values("step").groupby("run"):
            event = onset(curve["step"].to_numpy(float), curve["value"].to_numpy(float), measure=measure, span=1.0)
            told = {
                name: number(getattr(event, name)) for name in ("step_before", "midpoint", "step_after", "magnitude")
            }
            better = -1 if measure in ("in_context_score", "late_minus_early") else 1
            if event.midpoint is not None and better * (event.magnitude or 0.0) < 0:
                told = {"midpoint": None}
            kind = event.kind if event.midpoint is None or told["midpoint"] is not None else "gets worse"
            halves.setdefault(str(run), {})[f"{task} {measure}"] = {"kind": kind, **told}
    return {"events": halves, "lags": lags(halves)}


def turns(rows: pd.DataFrame) -> dict[str, Any]:
    """Run by run, where the log-probability of repeated random tokens is least (mean of five checkpoints, the step of the
    middle one) and how much it has gained from there to its last five; and the gains by size. A gain from a minimum is
    never negative: the sizes are to be compared with one another."""
    found: dict[str, Any] = {"runs": {}, "gain": {}}
    part = rows[(rows["task"] == "induction") & (rows["measure"] == "log_prob")].sort_values("step")
    for size, of_size in part.groupby("size"):
        gains = []
        for run, curve in of_size.groupby("run"):
            smooth = curve["value"].rolling(5, center=True).mean().to_numpy()
            least = int(np.nanargmin(smooth))
            gains.append(float(smooth[np.isfinite(smooth)][-1] - smooth[least]))
            found["runs"][str(run)] = {"step": int(curve["step"].iloc[least]), "gain": number(gains[-1])}
        found["gain"][str(size)] = interval(gains)
    return found


def lags(halves: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """log2 of (half-way step of a behaviour / of a head), over the runs of a size that have both; above 0: the head first."""
    heads = [name for name in next(iter(halves.values())) if "token" in name or "matching" in name]
    found = []
    for size in sorted({run.split(":")[1].split("/")[0] for run in halves}):
        own = [events for run, events in halves.items() if f":{size}/" in run]
        for head in heads:
            for behaviour in (name for name in own[0] if name not in heads):
                both = [(e[head]["midpoint"], e[behaviour]["midpoint"]) for e in own]
                logs = [math.log2(b / a) for a, b in both if a and b]
                found.append({"size": size, "head": head, "behaviour": behaviour, "n_runs": len(own), **interval(logs)})
    return found


def interval(values: Sequence[float] | pd.Series, level: float = 0.95) -> dict[str, Any]:
    """Mean over runs with Student's interval; of fewer than three the values themselves."""
    known = np.asarray([value for value in values if value is not None and math.isfinite(value)], dtype=float)
    n = len(known)
    if n < 3:
        mean = number(known.mean()) if n else None
        return {"mean": mean, "low": None, "high": None, "n": n, "values": [number(value) for value in known]}
    half = float(student.ppf((1 + level) / 2, n - 1)) * float(known.std(ddof=1)) / math.sqrt(n)
    mean = float(known.mean())
    return {"mean": number(mean), "low": number(mean - half), "high": number(mean + half), "n": n}


def number(value: Any) -> Any:
    """Plain and short: five digits, None for what is not finite."""
    if isinstance(value, bool | str) or value is None:
        return value
    value = float(value)
    return float(f"{value:.5g}") if math.isfinite(value) else None
