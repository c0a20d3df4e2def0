"""Restricted loss, in nats (Nanda et al. 2023, arXiv 2301.05217): cross-entropy over all p² inputs once the logits
keep only their mean and the waves cos 2πk(a + b)/p, sin 2πk(a + b)/p of the key frequencies k.

Key frequencies are the final checkpoint's: hindsight. NaN for other tasks, without MLPs, or without a final checkpoint.
"""

from __future__ import annotations

import math

from interp.indicators._fourier import FINAL_WAVES, final_waves
from interp.measure.observe import Observation
from interp.measure.scoring import log_softmax, pick

NEEDS = FINAL_WAVES
DIMS, UNIT, ONLINE = (), "nats", False


def restricted_loss(obs: Observation) -> float:
    """Falls as the generalising circuit forms, before the test loss does."""
    found = final_waves(obs)
    if found is None:
        return math.nan
    logits, waves, answers = found
    return float(-pick(log_softmax(waves + logits.mean(dim=0)), answers).mean())
