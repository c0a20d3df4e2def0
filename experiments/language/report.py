"""report.md: the text of report.in.md with the numbers of results.json in it, and the figures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from experiments.language import figures
from experiments.language.analysis import RESULTS, best_heads, by_position, results
from experiments.language.measuring import HERE, TABLE
from interp.figures.style import number
from interp.table import read_table

SHOWN = (
    ("python_source", "test_loss", "loss on held-out text, nats a token"),
    ("python_source", "in_context_score", "in-context score: last tenth − first tenth, nats"),
    ("python_source", "late_minus_early", "positions 112-127 − positions 8-23, nats"),
    ("python_source", "first_layer_previous_token", "previous-token attention, best head of the first layer"),
    ("python_source", "best_previous_token", "previous-token attention, best head"),
    ("python_source", "best_prefix_matching", "prefix matching, best head"),
    ("induction", "log_prob", "random tokens repeated: log-probability, nats"),
    ("induction", "exact_match", "random tokens repeated: share right"),
    ("python_names", "exact_match", "the other of two names: share right"),
    ("python_names", "logit_diff", "the other of two names: logit difference"),
    ("python_brackets", "exact_match", "bracket that closes: share right"),
    ("python_brackets", "logit_diff", "bracket that closes: logit difference between kinds"),
    ("python_indentation", "exact_match", "four spaces further in: share right"),
    ("python_counting", "exact_match", "the next digit: share right"),
)


def write() -> None:
    """results.json, figures/*.svg and report.md from table.parquet."""
    table = read_table(TABLE)
    found = results(table)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    curves = pd.concat([table, best_heads(table), by_position(table)])
    curves = curves.assign(value=curves["value"].astype(float), step=curves["step"].astype(float))
    drawn = {
        "formation": figures.small_multiples(curves, figures.FORMATION, title="Loss, context, heads: a line a run"),
        "skills": figures.small_multiples(
            curves, figures.SKILLS, title="Skills in the models' own tokens: a line a run"
        ),
    }
    (HERE / "figures").mkdir(exist_ok=True)
    for name, svg in drawn.items():
        (HERE / "figures" / f"{name}.svg").write_text(svg, encoding="utf-8")
    text = (HERE / "report.in.md").read_text(encoding="utf-8")
    (HERE / "report.md").write_text(filled(text, told(found)), encoding="utf-8")


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with every {{name}} replaced; an unknown name is an error."""
    return re.sub(r"\{\{([^}]+)\}\}", lambda match: values[match[1]], text)


def told(found: Mapping[str, Any]) -> dict[str, str]:
    """What the text names: single numbers and whole tables."""
    ends = {(e["size"], e["task"], e["measure"]): e for e in found["ends"]}
    corpus = found["corpus"]
    values = {
        "tokens seen": f"{found['tokens'] / 1e6:.1f}",
        "budget": str(found["budget"]),
        "runs": runs_told(found),
        "turns": turns_table(found["turns"]["runs"], found["formation"]["events"]),
        **{f"{size} turn": with_interval(gain) for size, gain in found["turns"]["gain"].items()},
        "train tokens": f"{corpus['tokens']['train'] / 1e6:.1f}",
        "test tokens": f"{corpus['tokens']['test'] / 1e6:.1f}",
        "shared": f"{100 * corpus['shared_windows']:.1f}",
        "tokenizer": corpus["tokenizer_sha256"],
        "train packages": ", ".join(f"{name} {corpus['packages'][name]['version']}" for name in corpus["train"]),
        "held-out packages": ", ".join(f"{name} {corpus['packages'][name]['version']}" for name in corpus["held_out"]),
        "params": ", ".join(f"{size} {n:,}" for size, n in found["n_params"].items()),
        "ends": ends_table(ends),
        "jumps": jumps_table(found["jumps"]),
        "events": events_table(found["formation"]["events"]),
        "lags": lags_table(found["formation"]["lags"]),
    }
    for (size, task, measure), end in ends.items():
        values[f"{size} {task} {measure}"] = with_interval(end)
    return values


def runs_told(found: Mapping[str, Any]) -> str:
    """How far the runs are and at how many checkpoints, those that are alike together."""
    alike: dict[tuple[int, int], list[str]] = {}
    for run, step in found["runs"].items():
        alike.setdefault((step, found["checkpoints"][run]), []).append(run.partition(":")[2].replace("/base", ""))
    return "; ".join(f"{', '.join(names)} to step {step} ({n} checkpoints each)" for (step, n), names in alike.items())


def turns_table(turns: Mapping[str, Mapping[str, Any]], events: Mapping[str, Mapping[str, Any]]) -> str:
    """Beside the half-way step of the head that matches prefixes."""
    rows = [
        [run.partition(":")[2].replace("/base", ""), _event(events[run]["python_source best_prefix_matching"]), str(turn["step"]),
         number(turn["gain"])]
        for run, turn in turns.items()
    ]  # fmt: skip
    return as_markdown(
        ["run", "prefix matching half-way", "repeated tokens: least likely at step", "gain since, nats"], rows
    )


def with_interval(one: Mapping[str, Any]) -> str:
    """`mean (low to high)`; of fewer than three runs, each one's value."""
    if one["low"] is None:
        return " and ".join(number(value) for value in one["values"]) or "—"
    return f"{number(one['mean'])} ({number(one['low'])} to {number(one['high'])})"


def ends_table(ends: Mapping[tuple[str, str, str], Mapping[str, Any]]) -> str:
    sizes = sorted({size for size, *_ in ends})
    rows = [
        [
            name,
            *(
                f"{number(ends[size, task, measure]['first'])} → {with_interval(ends[size, task, measure])}"
                for size in sizes
            ),
        ]
        for task, measure, name in SHOWN
    ]
    return as_markdown(["first checkpoint (mean) → last (each run)", *sizes], rows)


def jumps_table(jumps: Sequence[Mapping[str, Any]]) -> str:
    """How many runs of each size the detector calls what, and where their rises lie."""
    frame = pd.DataFrame([jump for jump in jumps if jump["run"]])
    rows = []
    for (task, measure), part in frame.groupby(["task", "measure"], sort=False):
        row = [f"{task} {measure}"]
        for size in sorted(frame["setting"].unique()):
            own = part[part["setting"] == size]
            worse = (own["magnitude"].astype(float).fillna(0) < 0) & (measure not in ("test_loss", "in_context_score"))
            own = own.assign(kind=own["kind"].where(~worse, own["kind"] + " for the worse"))
            kinds = own.drop_duplicates("run")["kind"].value_counts()
            first = own[own["kind"].str.startswith(("abrupt", "gradual", "undetermined"))].dropna(
                subset=["step_before"]
            )
            first = first.sort_values("step_before").drop_duplicates("run")
            where = (
                f"; from {int(first['step_before'].min())} to {int(first['step_after'].max())}" if len(first) else ""
            )
            row.append(", ".join(f"{n} {kind}" for kind, n in kinds.items()) + where)
        rows.append(row)
    return as_markdown(["behaviour", *sorted(frame["setting"].unique())], rows)


def events_table(events: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Half-way steps, run by run."""
    names = list(next(iter(events.values())))
    rows = [
        [run.partition(":")[2].replace("/base", ""), *(_event(found[name]) for name in names)]
        for run, found in events.items()
    ]
    return as_markdown(["run", *(name.replace("python_source ", "") for name in names)], rows)


def _event(one: Mapping[str, Any]) -> str:
    return one["kind"] if one["midpoint"] is None else f"{one['midpoint']:.0f} ({one['kind']})"


def lags_table(lags: Sequence[Mapping[str, Any]]) -> str:
    lags = [one for one in lags if one["n"]]
    if not lags:
        return "No run has both a head's half-way step and a behaviour's that gets better: there is no lag to give."
    rows = [
        [one["size"], one["head"].split()[1], one["behaviour"].replace("python_source ", ""), f"{one['n']} of {one['n_runs']}",
         with_interval(one)]
        for one in lags
    ]  # fmt: skip
    return as_markdown(["size", "head", "behaviour", "runs with both", "log2 (behaviour / head), 95 %"], rows)


def as_markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
