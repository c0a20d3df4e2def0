"""Spectrum of the token embedding over Z_p, in a model that adds modulo p (Nanda et al. 2023, arXiv 2301.05217): component
"k=3" is the share that the waves of frequency 3 have in the squared norm of the numbers' embeddings without their mean.

Shares add up to 1. Even, 2/p each, for a random embedding; a few frequencies hold it once the circuit has formed. NaN for
other tasks.
"""

from __future__ import annotations

import math

from interp.indicators._fourier import modulus, wave_norms
from interp.indicators._weights import embedding
from interp.measure.observe import Observation

NEEDS = {"weights": "all"}
DIMS, UNIT, ONLINE = ("component",), "share of energy", True


def embed_spectrum(obs: Observation) -> dict[str, float]:
    """NaN where all numbers have one embedding."""
    p = modulus(obs)
    if p is None:
        return {"": math.nan}
    energy = wave_norms(embedding(obs)[:p]).square()
    pairs = [energy[start : start + 2].sum() for start in range(0, len(energy), 2)]
    return {f"k={k}": float(pair / energy.sum()) for k, pair in enumerate(pairs, start=1)}
