"""What a circuit that was found elsewhere keeps of the behaviour here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from interp.circuits._graph import graph_of
from interp.circuits.testing.faithfulness import of_circuit

if TYPE_CHECKING:
    from interp.circuits import Circuit
    from interp.measure.observe import Observation

RUNS = 5
"""The clean and the corrupt run, and a run with the circuit's edges, with all and with none."""


def faithfulness_here(obs: Observation, circuit: Circuit | None) -> float:
    """Faithfulness, at this checkpoint and on its prompts, of exactly the edges that are in a circuit. NaN without a
    circuit, of an empty one, and of one of another architecture or shape."""
    if circuit is None or circuit.n_edges == 0 or circuit.graph != graph_of(obs.model):
        return math.nan
    obs.spend(obs.prompts.clean.numel(), forward=RUNS)
    return of_circuit(obs.model, obs.prompts, circuit)
