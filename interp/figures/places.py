"""Where the nodes of a circuit stand in its drawing, by their names: layers up, heads across."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from interp.errors import InputError
from interp.figures.scores import Scores

_NODE = re.compile(r"L(\d+)(?:H(\d+)|\.(\w+))?$")


def node_of(name: str) -> str:
    """The node that an edge's end belongs to: L2H3.q → L2H3, L2.kv0.k → L2.kv0."""
    return re.sub(r"^(L\d+(?:H|\.kv)\d+)\.[qkv]$", r"\1", name)


def names_of(scores: Scores) -> list[str]:
    nodes, edges = scores
    return [*nodes, *(node_of(end) for edge in edges for end in edge)]


def places_of(names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """(x, y) of every node: embedding at the bottom, per layer a row of heads and above it the MLP, logits on top; keys
    and values that heads share stand below these heads."""
    unique = sorted(set(names))
    if not unique:
        raise InputError("the circuit has no nodes and no edges; nothing to draw")
    found = {name: _NODE.fullmatch(name) for name in unique}
    n_heads = 1 + max((int(m[2]) for m in found.values() if m and m[2]), default=0)
    shared = [int(m[3][2:]) for m in found.values() if m and re.fullmatch(r"kv\d+", m[3] or "")]
    middle = (n_heads - 1) / 2
    layers = sorted({int(m[1]) for m in found.values() if m})
    rank = {layer: place for place, layer in enumerate(layers)}
    places = {}
    others = 0
    for name, match in found.items():
        if match and match[2]:
            places[name] = (float(match[2]), 2 * rank[int(match[1])] + 1.0)
        elif match and re.fullmatch(r"kv\d+", match[3] or ""):
            width = n_heads / (max(shared) + 1)
            places[name] = (width * (int(match[3][2:]) + 0.5) - 0.5, 2 * rank[int(match[1])] + 0.4)
        elif match:
            places[name] = (middle, 2 * rank[int(match[1])] + 2.0)
        elif name == "logits":
            places[name] = (middle, 2 * len(layers) + 1.0)
        else:
            places[name] = (middle + others * 1.0, 0.0)
            others += 1
    return places


def x_range(places: Mapping[str, tuple[float, float]]) -> list[float]:
    xs = [x for x, _ in places.values()]
    return [min(xs) - 1.0, max(xs) + 1.0]


def layer_ticks(places: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    ticks = {}
    for name, (_, y) in places.items():
        match = _NODE.fullmatch(name)
        if match and not (match[3] or "").startswith("kv"):
            ticks[y] = f"{'heads' if match[2] else match[3] or 'layer'} {match[1]}"
        elif not match:
            ticks[y] = name
    return {"tickvals": list(ticks), "ticktext": [escape(text) for text in ticks.values()]}


def is_head(name: str) -> bool:
    match = _NODE.fullmatch(name)
    return bool(match and match[2])


def short_name(name: str) -> str:
    match = _NODE.fullmatch(name)
    if not match:
        return escape(name[:6])
    return f"{match[1]}.{match[2]}" if match[2] else escape(match[3] or f"L{match[1]}")[:4]
