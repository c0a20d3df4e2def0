"""Faithfulness of a circuit transferred from another run: the edges that were enough for 80 % of the behaviour there
(`circuits: {reference: …}` of the experiment), kept here while everything outside them carries its value in the
corrupt run. Heads have no common numbering across seeds: a low value means another circuit or the same one elsewhere.

NaN in the run that the circuit comes from, where there is no reference, and in models of another shape.
"""

from __future__ import annotations

from interp.indicators._circuits import faithfulness_here
from interp.measure.observe import Observation

NEEDS = {"reference": "all"}
DIMS, UNIT, ONLINE, COST = (), "share", True, "many"


def circuit_transfer(obs: Observation) -> float:
    """1 where those edges do what the whole model does, 0 where they do what the corrupt run does; not bounded."""
    return faithfulness_here(obs, obs.reference)
