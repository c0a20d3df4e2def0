"""Circuits over a run of checkpoints: when one formed, how sure that is, and which roles its heads took."""

from interp.circuits._edges_from_nodes import edges_between
from interp.circuits.formation.roles import ROLES, role_nulls, role_scores
from interp.circuits.formation.track import applied_backwards, track_circuit
from interp.circuits.formation.tracked import Snapshot, TrackedCircuit

__all__ = [
    "ROLES",
    "Snapshot",
    "TrackedCircuit",
    "applied_backwards",
    "edges_between",
    "role_nulls",
    "role_scores",
    "track_circuit",
]
