"""Concentration of the circuit: Gini coefficient of the magnitudes of its scores, over edges, or over nodes where
the method scores nodes. NaN without a circuit."""

from __future__ import annotations

import math

import torch

from interp.circuits.formation.track import magnitudes
from interp.indicators._spectra import gini
from interp.measure.observe import Observation

NEEDS = {"circuit": "all"}
DIMS, UNIT, ONLINE = (), "share", True


def circuit_concentration(obs: Observation) -> float:
    """From 0 (all scores alike) to near 1 (one edge carries everything)."""
    if obs.circuit is None:
        return math.nan
    return gini(torch.tensor(sorted(magnitudes(obs.circuit).values()), dtype=torch.float64))
