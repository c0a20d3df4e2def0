"""Concentration of the embedding on few Fourier frequencies: Gini coefficient of the norms of the waves over Z_p in
W_E (Nanda et al. 2023, arXiv 2301.05217). NaN for tasks that do not add modulo p.

The constant wave is left out: it is no frequency.
"""

from __future__ import annotations

import math

from interp.indicators._fourier import modulus, wave_norms
from interp.indicators._spectra import gini
from interp.indicators._weights import embedding
from interp.measure.observe import Observation

NEEDS = {"weights": "all"}
DIMS, UNIT, ONLINE = (), "share", True


def gini_embed(obs: Observation) -> float:
    """From 0 (all waves alike) to near 1 (one wave)."""
    p = modulus(obs)
    return math.nan if p is None else gini(wave_norms(embedding(obs)[:p]))
