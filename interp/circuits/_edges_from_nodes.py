"""Edges from nodes: a circuit whose method scores nodes, as one whose edges can be chosen, tried and counted."""

from __future__ import annotations

from dataclasses import replace

import torch

from interp.circuits._circuit import Circuit, check_circuit


def edges_between(circuit: Circuit) -> Circuit:
    """An edge counts as much as the lesser of its two ends, so that the best edges are those between the best nodes;
    embedding and logits count as much as the best node. A circuit whose edges have scores is given back as it is."""
    check_circuit(circuit)
    if circuit.nodes is None or not bool(circuit.scores.isnan().all()):
        return circuit
    graph = circuit.graph
    writers = circuit.nodes.abs().nan_to_num()
    most = writers.max()
    readers = torch.zeros(len(graph.readers))
    for column in range(1, len(writers)):
        rows = list(graph.rows_into(column))
        readers[rows] = readers[rows].clamp(min=float(writers[column]))  # shared keys: the best of their heads
    writers[0] = readers[-1] = most
    scores = torch.minimum(readers[:, None], writers).masked_fill(~graph.edges, torch.nan)
    return replace(circuit, scores=scores, included=graph.edges)
