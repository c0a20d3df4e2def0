"""Size of the circuit: the smallest share of the edges, best scores first, that is 80 % faithful on the prompts, with
everything outside patched from the corrupt run: 0 % is the empty circuit's metric and 100 % the whole model's (Mueller
et al. 2025, arXiv 2504.13151). Where the method scores nodes, an edge counts as much as the lesser of its ends.

NaN without a circuit, or where clean and corrupt prompts give the same metric.
"""

from __future__ import annotations

import math

from interp.circuits._edges_from_nodes import edges_between
from interp.circuits.testing.size import GRID, smallest_faithful
from interp.measure.observe import Observation

NEEDS = {"circuit": "all"}
DIMS, UNIT, ONLINE, COST = (), "share", True, "many"


def circuit_size_80(obs: Observation, *, target: float = 0.8) -> float:
    """In (0, 1]; found on a geometric grid and one refinement of it, so that it may miss a smaller set in between."""
    if obs.circuit is None:
        return math.nan
    smallest = smallest_faithful(obs.model, obs.prompts, edges_between(obs.circuit), target=target)
    obs.spend(obs.prompts.clean.numel(), forward=2 * (GRID + 2))
    return math.nan if smallest is None else smallest.n_edges / int(obs.circuit.graph.edges.sum())
