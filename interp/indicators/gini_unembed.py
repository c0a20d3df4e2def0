"""Concentration of the map from neurons to logits on few Fourier frequencies: Gini coefficient of the norms of the
waves over Z_p in W_U · W_out of the last layer (Nanda et al. 2023, arXiv 2301.05217), in W_U where there are no
MLPs. NaN for tasks that do not add modulo p.

The constant wave is left out: it is no frequency.
"""

from __future__ import annotations

import math

from interp.indicators._fourier import modulus, wave_norms
from interp.indicators._spectra import gini
from interp.indicators._weights import mlp_out, unembedding
from interp.measure.observe import Observation

NEEDS = {"weights": "all"}
DIMS, UNIT, ONLINE = (), "share", True


def gini_unembed(obs: Observation) -> float:
    """From 0 (all waves alike) to near 1 (one wave)."""
    p = modulus(obs)
    if p is None:
        return math.nan
    to_logits, neurons = unembedding(obs)[:p], mlp_out(obs, obs.model.n_layers - 1)
    return gini(wave_norms(to_logits if neurons is None else to_logits @ neurons.T))
