"""Templates of the names that a card's checkpoints have: filled in, and matched against what a hub lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter
from typing import Any

from interp.documents import short
from interp.errors import InputError

TEMPLATES = ("repo", "revision", "subfolder", "file")
OWN_FIELDS = ("size", "setting", "seed", "seed_name", "step", "thousands", "billions", "tokens", "named", "any")
OPEN = {"step": 0, "thousands": 0, "billions": 0, "tokens": "0B", "named": "x", "any": ""}
"""The fields that a checkpoint fills, while there is none."""

_CAPTURED = {
    "step": r"(?P<step>\d+)",
    "billions": r"(?P<billions>\d+(?:\.\d+)?)",
    "tokens": r"(?P<tokens>\d+(?:\.\d+)?[BT])",
    "any": r".*?",
}
_FORMAT = re.compile(r"0?\d{0,2}d?")
"""What may stand behind the colon of a field, as in {step:03d}; wider formats would write gigabytes."""


def holds_step(template: str) -> bool:
    """Whether a name that fits tells a step (or the tokens, from which it follows)."""
    return bool(_fields(template) & {"step", "billions"})


def names_step(template: str) -> bool:
    """Whether different steps have different names."""
    return bool(_fields(template) & {"step", "billions", "thousands", "named"})


def pattern_of(template: str, run: Mapping[str, Any]) -> re.Pattern[str]:
    """The regular expression of the names that a template makes: the run's fields filled in, the step's captured."""
    parts = []
    for text, name, _, _ in Formatter().parse(template):
        parts.append(re.escape(text))
        if name is not None:
            parts.append(_CAPTURED[name] if name in _CAPTURED else re.escape(str(run[name])))
    return re.compile("".join(parts))


def step_of(found: Mapping[str, str], tokens_per_step: int | None) -> tuple[int, int | None]:
    """Step and tokens that a name gives; the one that it leaves out follows from the tokens in a step."""
    tokens = round(float(found["billions"]) * 1e9) if found.get("billions") else None
    if said := found.get("tokens"):
        tokens = round(float(said[:-1]) * {"B": 1e9, "T": 1e12}[said[-1]])
    if found.get("step"):
        step = int(found["step"])
        return step, tokens if tokens_per_step is None else step * tokens_per_step
    assert tokens is not None
    if tokens_per_step is None:
        return round(tokens / 1e6), tokens
    step = round(tokens / tokens_per_step)
    return step, step * tokens_per_step


def check_template(template: str, run: Mapping[str, Any], *, where: str) -> None:
    """Raises InputError for a template with a field that nothing fills, or that leads out of its folder."""
    try:
        fields = [(name, form or "", how) for _, name, form, how in Formatter().parse(template) if name is not None]
        if not all(name.isidentifier() and _FORMAT.fullmatch(form) and how is None for name, form, how in fields):
            raise ValueError("a field is the name of a size's, a setting's or a run's field, with at most a width")
        filled = template.format(**{**run, **OPEN})
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise InputError(f"{where} {template!r} cannot be filled in for {run['size']}: {error}") from error
    if {"..", "."} & set(re.split(r"[/\\]", filled)) or filled.startswith(("/", "~")) or re.match(r"\w:", filled):
        raise InputError(
            f"{where} {template!r} gives {short(filled)} for {run['size']}; expected no way out of its folder"
        )


def _fields(template: str) -> set[str | None]:
    return {name for _, name, _, _ in Formatter().parse(template)}
