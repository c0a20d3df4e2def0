"""Circuits in the files that the EAP-IG repository and the Mechanistic Interpretability Benchmark (MIB) read and write.

    {"cfg":   {"n_layers": 2, "n_heads": 4, "parallel_attn_mlp": false, "d_model": 64},
     "nodes": {"input": {"in_graph": true, "score": 0.1}, "a0.h1": …, "m0": …, "logits": …},     scores are optional
     "edges": {"input->a0.h1<q>": {"score": 0.02, "in_graph": true}, …}}

Older files have `true` in place of `{"in_graph": true}` at nodes, and null or no scores. Edges that are not listed are
out, with score 0. A `.pt` file holds the same as matrices (`edges_scores`, `edges_in_graph`: [src_nodes, dst_nodes]).

There, every head has its own keys and values: where they are shared, each head of the group gets the edge with an
equal part of the score, and reading adds the parts up. Every layer has an MLP there: of an attention-only model, the
nodes `m0`, … are not written, and must be unused in what is read. Signs agree: positive = the edge helps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from interp.circuits._circuit import Circuit
from interp.circuits._graph import Graph
from interp.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_HEAD = re.compile(r"a(\d+)\.h(\d+)(?:<([qkv])>)?")
_MLP = re.compile(r"m(\d+)")
_FORMAT = "this is not a circuit of EAP-IG or MIB"

Listed = tuple[str, str, float | None, bool]  # writer, reader, score, whether it is in: in their names


def to_mib(circuit: Circuit, *, d_model: int = 0) -> dict[str, Any]:
    """The circuit as such JSON; edges that are out and have no score are left out. d_model: of the model, for tools
    that count neurons."""
    graph = circuit.graph
    edges = {}
    listed = graph.edges & (circuit.included | ~circuit.scores.isnan())
    for row, column in listed.nonzero().tolist():
        names = _reader_names(graph.readers[row], graph)
        part = float(circuit.scores[row, column].nan_to_num()) / len(names)
        for name in names:
            edge = {"score": part, "in_graph": bool(circuit.included[row, column])}
            edges[f"{_writer_name(graph.writers[column])}->{name}"] = edge
    used = circuit.pruned().included.any(0).tolist()
    nodes: dict[str, Any] = {
        _writer_name(n): {"in_graph": inside} for n, inside in zip(graph.writers, used, strict=True)
    }
    if circuit.nodes is not None:
        for node, score in zip(nodes.values(), circuit.nodes.tolist(), strict=True):
            node["score"] = score
    cfg = {"n_layers": graph.n_layers, "n_heads": graph.n_heads, "parallel_attn_mlp": graph.parallel}
    return {"cfg": {**cfg, "d_model": d_model}, "nodes": {**nodes, "logits": {"in_graph": True}}, "edges": edges}


def from_mib(data: Mapping[str, Any], graph: Graph | None = None) -> Circuit:
    """A circuit from such JSON. graph: of the model that it is for (`graph_of`); needed where heads share keys and
    values, and checked against the file.

    Raises:
        InputError: names or fields that this format does not have, a circuit of another model's shape or of neurons.
    """
    try:
        cfg, nodes = data["cfg"], data.get("nodes", {})
        listed = [(*_ends(name), e.get("score"), bool(e.get("in_graph", False))) for name, e in data["edges"].items()]
        whole_nodes = not data.get("neurons") and all(isinstance(n, bool) or "neurons" not in n for n in nodes.values())
        scores = {name: n["score"] for name, n in nodes.items() if not isinstance(n, bool) and "score" in n}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{_FORMAT}: {error!r}") from error
    if not whole_nodes:
        raise InputError("this circuit is one of single neurons, which edges between heads and MLPs cannot hold")
    names = {*nodes, *(end for edge in listed for end in edge[:2])}
    graph = _checked_graph(cfg, any(_MLP.fullmatch(name) for name in names), graph)
    return _circuit(graph, cfg, listed, scores)


def read_mib(path: str | Path, graph: Graph | None = None) -> Circuit:
    """As `from_mib`, from a `.json` or `.pt` file (tensors and plain values only: nothing in it is executed).

    Raises:
        InputError: also for a file that is not there or of neither kind.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if path.suffix == ".json":
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path} is not valid JSON: {error}") from error
        return from_mib(data, graph)
    if path.suffix != ".pt":
        raise InputError(f"{path}: a circuit of EAP-IG or MIB is a .json or .pt file")
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
        values, inside = data.get("edges_scores", data.get("edges")), data["edges_in_graph"].bool()
        listed = list(_of_matrices(list(data["src_nodes"]), data["dst_nodes"], values, inside))
        scored, neurons = data.get("nodes_scores"), data.get("neurons_in_graph", data.get("neurons"))
        nodes = {} if scored is None else dict(zip(data["src_nodes"], scored.tolist(), strict=True))
        cfg = data["cfg"]
    except Exception as error:
        raise InputError(f"{path}: {_FORMAT}: {error!r}") from error
    if neurons is not None:
        raise InputError(f"{path}: a circuit of single neurons, which edges between heads and MLPs cannot hold")
    return _circuit(_checked_graph(cfg, True, graph), cfg, listed, nodes)


def _of_matrices(writers: list[str], readers: list[str], scores: Tensor, inside: Tensor) -> Iterator[Listed]:
    for row, column in (inside | (scores != 0)).nonzero().tolist():
        yield writers[row], readers[column], float(scores[row, column]), bool(inside[row, column])


def _checked_graph(cfg: Mapping[str, Any], mlps: bool, graph: Graph | None) -> Graph:
    """The graph that a file's circuit is of: the model's own where that is given and fits."""
    try:
        heads, parallel = int(cfg["n_heads"]), bool(cfg.get("parallel_attn_mlp", False))
        there = Graph(n_layers=int(cfg["n_layers"]), n_heads=heads, n_kv_heads=heads, parallel=parallel, mlps=mlps)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{_FORMAT}: cfg has {cfg!r}") from error
    if graph is None:
        return there
    if replace(there, mlps=graph.mlps) != replace(
        graph, n_kv_heads=graph.n_heads, parallel=graph.parallel and graph.mlps
    ):
        raise InputError(
            f"this circuit is of {there.n_layers} layers of {heads} heads, {'parallel' if parallel else 'sequential'}"
            f" blocks; the model has {graph.n_layers} of {graph.n_heads}, {'parallel' if graph.parallel else 'sequential'}"
        )
    return graph


def _circuit(graph: Graph, cfg: Mapping[str, Any], listed: Iterable[Listed], nodes: Mapping[str, float]) -> Circuit:
    rows, columns = ({name: i for i, name in enumerate(side)} for side in (graph.readers, graph.writers))
    scores, included, any_score = torch.zeros(graph.edges.shape), torch.zeros_like(graph.edges), False
    for writer, reader, score, inside in listed:
        row, column = rows.get(_ours(reader, graph)), columns.get(_ours(writer, graph))
        if not graph.mlps and not (score or inside) and (_MLP.fullmatch(writer) or _MLP.fullmatch(reader)):
            continue
        if row is None or column is None or not bool(graph.edges[row, column]):
            raise InputError(f"{_FORMAT}: a model of {graph} has no edge {writer}->{reader}")
        scores[row, column] += float(score or 0.0)
        included[row, column] |= inside
        any_score |= score is not None
    found = {_ours(name, graph): score for name, score in nodes.items()}
    return Circuit(
        graph=graph,
        scores=scores.masked_fill(~graph.edges | (not any_score), torch.nan),
        included=included,
        nodes=torch.tensor([found.get(name, torch.nan) for name in graph.writers]) if nodes else None,
        method="mib",
        about={"cfg": dict(cfg)},
    )


def _ends(edge: str) -> tuple[str, str]:
    writer, arrow, reader = edge.partition("->")
    if not arrow:
        raise KeyError(edge)
    return writer, reader


def _writer_name(name: str) -> str:
    """`embed`, `L0H1`, `L0.mlp` -> `input`, `a0.h1`, `m0`."""
    if name == "embed":
        return "input"
    if name.endswith(".mlp"):
        return f"m{name[1:-4]}"
    layer, _, head = name[1:].partition("H")
    return f"a{layer}.h{head}"


def _reader_names(name: str, graph: Graph) -> list[str]:
    """`L0H1.q` -> `a0.h1<q>`; `L0H1.k` -> `a0.h2<k>` and `a0.h3<k>` where two heads share a key/value head."""
    if name == "logits" or name.endswith(".mlp"):
        return [name if name == "logits" else _writer_name(name)]
    layer, _, head = name[1:-2].partition("H")
    shared = 1 if name.endswith(".q") else graph.n_heads // graph.n_kv_heads
    return [f"a{layer}.h{int(head) * shared + i}<{name[-1]}>" for i in range(shared)]


def _ours(name: str, graph: Graph) -> str:
    """Their name of a node or reader in ours; any other name as it is."""
    if name == "input":
        return "embed"
    if found := _MLP.fullmatch(name):
        return f"L{found[1]}.mlp"
    found = _HEAD.fullmatch(name)
    if not found:
        return name
    layer, head, slot = found.groups()
    if slot in ("k", "v"):
        head = str(int(head) // (graph.n_heads // graph.n_kv_heads))
    return f"L{layer}H{head}" + (f".{slot}" if slot else "")
