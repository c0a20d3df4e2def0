"""Key frequencies of a model that adds modulo p (Nanda et al. 2023, arXiv 2301.05217): each neuron of the last layer names
the frequency that explains most of its variance over all p² inputs. Component "": how many different ones are named;
component "k=3": how many neurons name frequency 3, so that a stray neuron is told from a hundred. NaN for other tasks or
without MLPs.

Near p/2 for random neurons, a handful once the circuit has formed. Uses the present checkpoint only.
"""

from __future__ import annotations

import math

from interp.indicators._fourier import modulus, neuron_counts, on_grid
from interp.measure.observe import Observation

NEEDS = {"train.mlp_post": "answer", "test.mlp_post": "answer"}
DIMS, UNIT, ONLINE = ("component",), "frequencies, neurons", True


def key_frequencies(obs: Observation) -> dict[str, float]:
    """0 where every neuron is constant."""
    p = modulus(obs)
    if p is None or not obs.has_mlp:
        return {"": math.nan}
    counts = neuron_counts(on_grid(obs, "mlp_post", p), p)
    return {"": len(counts), **{f"k={k}": n for k, n in counts.items()}}
