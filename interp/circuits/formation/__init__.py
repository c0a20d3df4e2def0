"""Circuits over a run of checkpoints: when one formed, how sure that is, and which roles its heads took."""

from interp.circuits._edges_from_nodes import edges_between
from interp.circuits.formation.roles import ROLES, role_scores
from interp.circuits.formation.track import Formation, Snapshot, applied_backwards, formation

__all__ = ["ROLES", "Formation", "Snapshot", "applied_backwards", "edges_between", "formation", "role_scores"]
