"""A circuit in words and numbers: found, tried on other prompts, and set beside its noise floor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from interp.circuits._circuit import Circuit
from interp.circuits._edges_from_nodes import edges_between
from interp.circuits._find import find_circuit
from interp.circuits.testing.faithfulness import faithfulness, of_circuit
from interp.circuits.testing.size import smallest_faithful
from interp.circuits.testing.stability import Stability, stability
from interp.circuits.validation import validate_circuit
from interp.files import plain

if TYPE_CHECKING:
    from interp.models import Model
    from interp.types import Task

N_RESAMPLES = 5
SHOWN = 20


def describe(
    model: Model,
    task: Task,
    *,
    split_seed: int = 0,
    method: str,
    metric: str,
    n_prompts: int,
    seed: int,
) -> dict[str, Any]:
    """A task's circuit in a model, as plain data: `circuit`, `faithfulness` of its best edges (on prompts that it was
    not found on), `size_80`, and `noise_floor`, the agreement between circuits from resampled
    prompts, and `validation`, how far it can be trusted. Of a method that
    scores nodes, the best edges are those between the best nodes. split_seed: of the task's split, as the model was
    trained on it."""
    rng = torch.Generator().manual_seed(seed)
    found_on, tried_on = (task.prompts(n_prompts, rng=rng, seed=split_seed) for _ in range(2))
    circuit = edges_between(find_circuit(model, found_on, method, metric))
    about = {
        "task": task.name,
        "params": dict(task.params),
        "method": circuit.method,
        "metric": circuit.metric,
        "seed": seed,
    }
    about |= {"n_prompts": n_prompts, "cost_in_forward_passes": circuit.about.get("passes")}
    small = smallest_faithful(model, found_on, circuit)
    circuit = circuit.pruned() if small is None else small
    curve = faithfulness(model, tried_on, circuit)
    floor = stability(
        model, found_on, n_edges=circuit.n_edges, rng=rng, method=method, metric=metric, n_resamples=N_RESAMPLES
    )
    return {
        **about,
        "n_edges": circuit.n_edges,
        "total_edges": int(circuit.graph.edges.sum()),
        "size_80": None if small is None else small.n_edges,
        "held_out_faithfulness": plain(of_circuit(model, tried_on, circuit)),
        "faithfulness": {
            "fractions": list(curve.fractions),
            "n_edges": list(curve.n_edges),
            "values": [plain(value) for value in curve.values],
            "cmd": plain(curve.cmd),
            "cpr": plain(faithfulness(model, tried_on, circuit, signed=True).cpr),
            "clean": curve.clean,
            "empty": curve.empty,
        },
        "noise_floor": _floor(floor),
        "validation": validate_circuit(model, tried_on, circuit).to_json(),
        "nodes": circuit.node_scores(),
        "circuit": circuit.to_json(),
    }


def _floor(floor: Stability) -> dict[str, Any]:
    return {
        "jaccard": plain(floor.mean_jaccard),
        "similarity": plain(floor.mean_similarity),
        "n_resamples": N_RESAMPLES,
        "frequency": dict(floor.frequency),
    }


def format_description(found: Mapping[str, Any]) -> str:
    """The same for people."""
    lines = [f"{found['method']} on {found['n_prompts']} prompts of {found['task']}, {found['metric']}"]
    curve, floor = found["faithfulness"], found["noise_floor"]
    lines.append(
        f"metric {curve['clean']:.3f} on clean prompts, {curve['empty']:.3f} with every edge corrupt (held-out prompts)"
    )
    if found["size_80"] is None:
        lines.append("no part of the ranking reaches 80 % faithfulness: all edges are shown")
    else:
        lines.append(f"{found['size_80']} of {found['total_edges']} edges reach 80 % faithfulness")
    held_out = (
        (name, _show(value))
        for name, value in (
            ("faithfulness", found["held_out_faithfulness"]),
            ("CMD", curve["cmd"]),
            ("CPR", curve["cpr"]),
        )
    )
    lines.append("on held-out prompts: " + ", ".join(f"{name} {value}" for name, value in held_out))
    lines.append(
        f"noise floor: resampled prompts agree on {_show(floor['jaccard'])} of the edges (Jaccard; 0.8 is good)"
        f" and {_show(floor['similarity'])} of the scores"
    )
    curve_text = ", ".join(f"{n}: {_show(value)}" for n, value in zip(curve["n_edges"], curve["values"], strict=True))
    lines.append(found["validation"]["summary"])
    lines += [f"faithfulness by number of edges: {curve_text}", "", "edge                      score  chosen in"]
    inside = Circuit.from_json(found["circuit"])
    scores = {name: value for name, value in inside.edge_scores().items() if name in set(inside.edges())}
    for name in sorted(scores, key=lambda name: -abs(scores[name]))[:SHOWN]:
        lines.append(f"{name:22s} {scores[name]:+8.3f}  {floor['frequency'].get(name, 0.0):6.0%}")
    if len(scores) > SHOWN:
        lines.append(f"… and {len(scores) - SHOWN} more")
    return "\n".join([*lines, "", "node        score", *_best(found["nodes"])])


def _show(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _best(nodes: Mapping[str, float]) -> list[str]:
    return [f"{name:8s} {nodes[name]:+8.3f}" for name in sorted(nodes, key=lambda name: -abs(nodes[name]))[:SHOWN]]
