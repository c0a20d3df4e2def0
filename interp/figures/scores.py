"""A circuit's JSON, in any of its forms, as scores of nodes and edges by name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interp.errors import InputError

_PEER_NODE = re.compile(r"(?:a(\d+)\.h(\d+)|m(\d+))$")

Scores = tuple[dict[str, float], dict[tuple[str, str], float]]
"""Node → score, and (source, target with its `.q`, `.k` or `.v`) → score."""


def frames(circuit: Any) -> list[tuple[float, Scores]]:
    """(step, scores) in order of steps, of a trajectory; one pair with step NaN for a single circuit.

    circuit: a circuit (an object with `to_json`, its JSON, a file), `{step: circuit}` or a sequence of (step, circuit).
    """
    if isinstance(circuit, Mapping) and circuit and all(_is_step(key) for key in circuit):
        pairs: list[tuple[Any, Any]] = list(circuit.items())
    elif isinstance(circuit, Sequence) and not isinstance(circuit, str):
        pairs = [tuple(pair) for pair in circuit]
    else:
        pairs = [(np.nan, circuit)]
    if not pairs:
        raise InputError("a trajectory needs at least one (step, circuit); got none")
    return sorted(((float(step), scores(one)) for step, one in pairs), key=lambda pair: pair[0])


def scores(circuit: Any) -> Scores:
    """Scores of one circuit. Read are

    - ours: `edges` as [name, score, whether it is in] or name → score; `nodes` as name → score or in the graph's order;
    - that of EAP-IG and MIB: name → {score, in_graph}.

    Edges that are out of the circuit are left out, unless all are (scores from which nothing has been chosen yet).
    Where heads share keys and values, `L2H0.k` is the key of a node `L2.kv0`.

    Raises:
        InputError: neither nodes nor edges.
    """
    if isinstance(circuit, str | Path):
        circuit = json.loads(Path(circuit).read_text())
    if hasattr(circuit, "to_json"):
        circuit = circuit.to_json()
    if not isinstance(circuit, Mapping) or not {"nodes", "edges"} & set(circuit):
        raise InputError("expected a circuit: JSON with `nodes` or `edges` (scores by name)")
    graph = circuit.get("graph") or {}
    nodes = circuit.get("nodes") or {}
    if not isinstance(nodes, Mapping):
        nodes = dict(zip(_writers(graph), nodes, strict=True))
    shared = graph.get("n_kv_heads", 0) < graph.get("n_heads", 0)
    edges = {}
    for name, value in _known(circuit.get("edges") or {}).items():
        source, arrow, target = name.partition("->")
        if arrow:
            edges[_ours(source.strip()), _shared(_ours(target.strip()), shared)] = value
    return {_ours(name): value for name, value in _known(nodes).items()}, edges


def _is_step(key: Any) -> bool:
    return isinstance(key, int | float | np.integer) or (isinstance(key, str) and key.isdigit())


def _known(entries: Any) -> dict[str, float]:
    """Name → score of what is in; entries without a score are left out."""
    triples = [_triple(name, entry) for name, entry in entries.items()] if isinstance(entries, Mapping) else entries
    some = any(inside for _, _, inside in triples)
    return {
        str(name): float(value)
        for name, value, inside in triples
        if value is not None and value == value and (inside or not some)
    }


def _triple(name: str, entry: Any) -> tuple[str, float | None, bool]:
    if isinstance(entry, Mapping):
        return name, entry.get("score"), entry.get("in_graph") is not False
    return name, entry, True


def _writers(graph: Mapping[str, Any]) -> list[str]:
    """The nodes in the order of our JSON: embedding, then the heads and the MLP of each layer."""
    names = ["embed"]
    for layer in range(graph.get("n_layers", 0)):
        names += [f"L{layer}H{head}" for head in range(graph["n_heads"])]
        names += [f"L{layer}.mlp"] if graph.get("mlps", True) else []
    return names


def _ours(name: str) -> str:
    """EAP-IG's names as ours: input → embed, a2.h3<q> → L2H3.q, m2 → L2.mlp."""
    base, _, slot = name.rstrip(">").partition("<")
    if base == "input":
        return "embed"
    found = _PEER_NODE.fullmatch(base)
    if not found:
        return name
    plain = f"L{found[1]}H{found[2]}" if found[1] else f"L{found[3]}.mlp"
    return f"{plain}.{slot}" if slot else plain


def _shared(reader: str, shared: bool) -> str:
    return re.sub(r"^L(\d+)H(\d+)\.([kv])$", r"L\1.kv\2.\3", reader) if shared else reader
