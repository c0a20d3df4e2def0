"""Circuits: the edges of a model that carry a skill; found, tested, compared, and watched as they form."""

from interp.circuits._circuit import Circuit, among, named, whole
from interp.circuits._edges_from_nodes import edges_between
from interp.circuits._find import find_circuit
from interp.circuits._graph import Graph, graph_of
from interp.circuits._mib import from_mib, read_mib, to_mib
from interp.circuits.testing.faithfulness import Faithfulness, exact_match, faithfulness

__all__ = [
    "Circuit",
    "Faithfulness",
    "Graph",
    "among",
    "edges_between",
    "exact_match",
    "faithfulness",
    "find_circuit",
    "from_mib",
    "graph_of",
    "named",
    "read_mib",
    "to_mib",
    "whole",
]
