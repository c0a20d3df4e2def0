"""What a report is made of, read from a run directory or a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from interp.files import read_json, read_yaml_text
from interp.report.outcomes import as_table
from interp.report.rows import rows_of
from interp.table import read_table, store


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """A table with what was stored beside it.

    circuits: (run, task) → {step: circuit as JSON, with what it does on other prompts as `formation`}.
    provenance: heading → text, record or mapping, in the order to show it.
    """

    name: str
    table: pd.DataFrame
    circuits: Mapping[tuple[str, str], Mapping[float, Any]] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    provenance: Mapping[str, Any] = field(default_factory=dict)


def read_source(source: str | Path | pd.DataFrame) -> Source:
    """A run directory with everything in it, or a table (a file, a DataFrame, a folder of evaluation logs) on its
    own."""
    if isinstance(source, pd.DataFrame):
        return Source(name="table", table=as_table(source), provenance={"source": "a DataFrame in memory"})
    path = Path(source)
    if not (path / "shards").is_dir():
        about = {"source": path.name, **({"sha256": _digest(path)} if path.is_file() else {})}
        return Source(name=path.stem, table=read_table(path), provenance=about)
    table = read_table(path)
    return Source(
        name=path.resolve().name,
        table=table,
        circuits=_circuits(path, table),
        failures=store.failures(path),
        provenance=_provenance(path, table),
    )


def _circuits(path: Path, table: pd.DataFrame) -> dict[tuple[str, str], dict[float, Any]]:
    """A circuit's file is named by the key that its rows carry; so is that of its trial on other prompts, which says
    what edges it needs (`formation` of the circuit here); what the circuit before it still carries is in a file named by
    both."""
    files = {file.stem: file for file in sorted((path / "circuits").glob("*.json")) if not file.name.startswith(".")}
    owners = table[table["key"].isin(files)].drop_duplicates("key") if files else table.iloc[:0]
    found: dict[tuple[str, str], dict[float, Any]] = {}
    for row in rows_of(owners):
        circuit = read_json(files[str(row.key)])
        trial = path / "formation" / f"{row.key}.json"
        if trial.is_file():
            circuit["formation"] = read_json(trial)
            inside = set(circuit["formation"].pop("edges"))
            circuit["edges"] = [[name, score, name in inside] for name, score, _ in circuit["edges"]]
        found.setdefault((str(row.run), str(row.task)), {})[float(row.step)] = circuit | {"key": row.key}  # type: ignore[arg-type]
    for trajectory in found.values():
        for before, now in pairwise(circuit for _, circuit in sorted(trajectory.items())):
            kept = path / "inherited" / f"{now['key']}.{before['key']}.json"
            if "formation" in now and kept.is_file():
                now["formation"] |= read_json(kept)
    return found


def _provenance(path: Path, table: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = {"run directory": path.resolve().name}
    environment = path / "environment.json"
    if environment.is_file():
        found |= read_json(environment)
    keys = sorted(set(table["key"].unique()) - {""})
    found["results"] = f"{len(table)} values of {len(keys)} results"
    found["digest of the results"] = store.digest(keys)
    config = path / "config.yaml"
    if config.is_file():
        text = read_yaml_text(config)
        found["digest of the configuration"] = sha256(text.encode()).hexdigest()[:24]
        found["configuration"] = text
    return found


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def as_yaml(value: Any) -> str:
    """Text as it is, anything else as YAML."""
    return (
        value if isinstance(value, str) else yaml.safe_dump(json.loads(json.dumps(value, default=str)), sort_keys=False)
    )
