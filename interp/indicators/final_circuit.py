"""Faithfulness of the run's own final circuit at this checkpoint: the edges that are enough for 80 % of the behaviour
at the end, with everything outside them patched from the corrupt run (Mueller et al. 2025, arXiv 2504.13151).

Hindsight: which edges these are is known at the end only. NaN without circuits.
"""

from __future__ import annotations

from interp.indicators._circuits import faithfulness_here
from interp.measure.observe import Observation

NEEDS = {"circuit": "all", "final": "all"}
DIMS, UNIT, ONLINE, COST = (), "share", False, "many"


def final_circuit(obs: Observation) -> float:
    """About .8 or more at the last checkpoint; not bounded elsewhere."""
    return faithfulness_here(obs, None if obs.final is None else obs.final.circuit)
