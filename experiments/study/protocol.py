"""The pre-registered analysis as a record: `protocol.yaml`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.study.rows import EXPLORE, HELD_OUT, HERE, PARTS, target_name
from interp.documents import read_document
from interp.errors import InputError, unknown
from interp.leads.spec import Spec, read_spec

PROTOCOL = HERE / "protocol.yaml"
_KEYS = (
    "question",
    "parts",
    "reuse_controls",
    "families",
    "largest",
    "margin",
    "level",
    "leads",
    "primary",
    "secondary",
)
_FAMILY = ("target", "direction", "component", "parts", "controls", "shuffled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """families: entries of the protocol by family. primary: indicator → hypothesis. largest: indicators whose maximum over
    components counts. margin: bits a row. level: of every interval."""

    question: str
    parts: Mapping[str, tuple[int, ...]]
    reuse_controls: bool
    families: Mapping[str, Mapping[str, Any]]
    largest: tuple[str, ...]
    primary: Mapping[str, str]
    level: float
    leads: Spec

    def controls(self, family: str) -> tuple[str, ...]:
        """Settings of a family whose runs never jump."""
        return tuple(self.families[family].get("controls", ()))

    def spec(self, family: str, table: pd.DataFrame, *, primary: bool) -> Spec:
        """The analysis of one family's rows. primary: the pre-registered indicators alone."""
        have, settings = set(table["measure"]), set(table["setting"])
        rolling = tuple(name for name in self.leads.rolling if name.rpartition(".")[0] in have)
        chosen = tuple(name for name in self.primary if name in have or name in rolling)
        return replace(
            self.leads,
            target=target_name(self.families[family]),
            direction=self.families[family].get("direction"),
            indicators=chosen if primary and self.primary else None,
            shuffled=tuple(name for name in self.families[family].get("shuffled", ()) if name in settings),
            rolling=rolling,
        )


def read_protocol(path: Path = PROTOCOL) -> Protocol:
    """The protocol in a file.

    Raises:
        InputError: an unknown or missing key, a part of another name, seeds of both parts, or a wrong field of `leads`.
    """
    given = read_document(path)
    for name in given:
        if name not in _KEYS:
            raise unknown("key of the protocol", name, _KEYS)
    for name in _KEYS:
        if name not in given:
            raise InputError(f"{path} has no key {name!r}")
    if set(given["parts"]) != set(PARTS):
        raise InputError(f"{path}: parts are {sorted(given['parts'])}; expected {sorted(PARTS)}")
    parts = {name: tuple(int(seed) for seed in seeds) for name, seeds in given["parts"].items()}
    if both := set(parts[EXPLORE]) & set(parts[HELD_OUT]):
        raise InputError(f"{path}: seed {min(both)} is of both parts")
    for family, entry in given["families"].items():
        for name in entry:
            if name not in _FAMILY:
                raise unknown(f"key of {family} in the protocol", name, _FAMILY)
    primary = given["primary"] or {}
    return Protocol(
        question=str(given["question"]),
        parts=parts,
        reuse_controls=bool(given["reuse_controls"]),
        families=given["families"],
        largest=tuple(given["largest"]),
        primary={str(name): str(hypothesis) for name, hypothesis in primary.items()},
        level=float(given["level"]),
        leads=read_spec({**given["leads"], "margin": float(given["margin"]), "level": float(given["level"])}),
    )
