"""A plan as text: what an experiment needs, a row a family, then its tasks, then the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from interp.figures.text import in_columns

COLUMNS = (
    ("runs", "runs"),
    ("checkpoints", "checkpoints"),
    ("compared", "compared_checkpoints"),
    ("circuits at", "circuit_checkpoints"),
    ("to train", "to_train"),
    ("to fetch", "to_download"),
    ("fetched (GB)", "download_gb"),
    ("disk (GB)", "disk_gb"),
    ("memory (GB)", "memory_gb"),
    ("training (FLOPs)", "training_flops"),
    ("measuring (FLOPs)", "measuring_flops"),
    ("of it circuits", "circuit_flops"),
)


def format_plan(found: Mapping[str, Any]) -> str:
    """What `interp.engine.planning.plan` gave, as aligned tables with units."""
    families = found["families"]
    lines = [["family", *(title for title, _ in COLUMNS)]]
    lines += [_row(each["family"], each) for each in families]
    if len(families) > 1:
        lines.append(_row("all", found))
    tasks = [["family", "task", "tokens a pass", "passes a checkpoint"]]
    tasks += [
        [each["family"], name, _count(needs["tokens"]), f"{needs['forward_passes']:.1f}"]
        for each in families
        for name, needs in each["tasks"].items()
    ]
    notes = dict.fromkeys(note for each in families for note in each["notes"])
    parts = [f"{found['experiment']} needs", "", *_turned(lines), "", *in_columns(tasks), "", *_times(found)]
    return "\n".join([*parts, *(f"note: {note}" for note in notes)])


def _row(name: str, needs: Mapping[str, Any]) -> list[str]:
    return [name, *(_amount(key, needs[key]) for _, key in COLUMNS)]


def _turned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Needs down and families across, where there are few families: a terminal is narrow."""
    return in_columns(list(zip(*lines, strict=True)) if len(lines) <= 5 else lines)


def _amount(key: str, value: float) -> str:
    if key.endswith("_flops"):
        return f"{value:.2e}"
    return f"{value:.3g}" if key.endswith("_gb") else _count(value)


def _count(value: float) -> str:
    return f"{value:.0f}"


def _times(found: Mapping[str, Any]) -> list[str]:
    lines = [["on", "time (FLOPs alone)", "fits in memory"]]
    for name, told in found.items():
        if isinstance(told, Mapping) and "hours" in told:
            rate = f" ({told['gflops_per_second']:.0f} GFLOP/s)" if "gflops_per_second" in told else ""
            fits = "" if "fits_in_memory" not in told else "yes" if told["fits_in_memory"] else "no"
            lines.append([name.replace("_", " ") + rate, _time(told["hours"]), fits])
    return in_columns(lines)


def _time(hours: float) -> str:
    for unit, size in (("days", 24.0), ("hours", 1.0), ("minutes", 1 / 60)):
        if hours >= 2 * size:
            return f"{hours / size:.1f} {unit}"
    return f"{hours * 3600:.2g} seconds"
