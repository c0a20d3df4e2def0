"""Excluded loss, in nats (Nanda et al. 2023, arXiv 2301.05217): cross-entropy on the training split once the waves
cos 2πk(a + b)/p, sin 2πk(a + b)/p of the key frequencies k are taken out of the logits.

Key frequencies are the final checkpoint's: hindsight. NaN for other tasks, without MLPs, or without a final checkpoint.
"""

from __future__ import annotations

import math

from interp.indicators._fourier import FINAL_WAVES, final_waves, train_inputs
from interp.measure.observe import Observation
from interp.measure.scoring import log_softmax, pick

NEEDS = FINAL_WAVES
DIMS, UNIT, ONLINE = (), "nats", False


def excluded_loss(obs: Observation) -> float:
    """Falls while the model memorises, rises as it comes to rely on the waves."""
    found = final_waves(obs)
    if found is None:
        return math.nan
    logits, waves, answers = found
    return float(-pick(log_softmax(logits - waves), answers)[train_inputs(obs, math.isqrt(len(answers)))].mean())
