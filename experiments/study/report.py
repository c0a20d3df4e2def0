"""`report.md`: the prose of `report.in.md` with its fills made from `results/*.json` and the protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.study.figures import figures
from experiments.study.protocol import PROTOCOL, Protocol, read_protocol
from experiments.study.rows import HERE
from experiments.study.told_indicators import indicators
from experiments.study.told_rest import rest
from experiments.study.told_setup import setup

PROSE = HERE / "report.in.md"
_FILL = re.compile(r"\{\{(\w+)\}\}")


def report(results: Mapping[str, Any], *, folder: Path = HERE, protocol: Path = PROTOCOL) -> Path:
    """Draw the figures and write the page; where it is."""
    drawn = figures(results, folder / "figures")
    path = folder / "report.md"
    path.write_text(text(results, read_protocol(protocol), drawn), encoding="utf-8")
    return path


def fills(results: Mapping[str, Any], protocol: Protocol, drawn: Sequence[str]) -> dict[str, str]:
    """What stands for every name in braces of the prose."""
    return setup(results, protocol) | indicators(results, drawn) | rest(results, drawn)


def text(results: Mapping[str, Any], protocol: Protocol, drawn: Sequence[str]) -> str:
    """The page. A name of the prose without a fill is our own mistake, and fails."""
    made = fills(results, protocol, drawn)
    return _FILL.sub(lambda found: made[found[1]], PROSE.read_text(encoding="utf-8"))
