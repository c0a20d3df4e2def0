"""Number of key frequencies of a model that adds modulo p (Nanda et al. 2023, arXiv 2301.05217): each neuron of the
last layer names the frequency that explains most of its variance over all p² inputs; how many different ones are
named. NaN for other tasks or without MLPs.

Near p/2 for random neurons, a handful once the circuit has formed. Uses the present checkpoint only.
"""

from __future__ import annotations

import math

from interp.indicators._fourier import modulus, neuron_frequencies, on_grid
from interp.measure.observe import Observation

NEEDS = {"train.mlp_post": "answer", "test.mlp_post": "answer"}
DIMS, UNIT, ONLINE = (), "frequencies", True


def key_frequencies(obs: Observation) -> float:
    """0 where every neuron is constant."""
    p = modulus(obs)
    return math.nan if p is None or not obs.has_mlp else len(neuron_frequencies(on_grid(obs, "mlp_post", p), p))
