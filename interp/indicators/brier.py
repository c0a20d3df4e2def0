"""Brier score over the whole vocabulary (Brier 1950): Σ_tokens (p(token) − [token is right])², mean over the answer's
tokens and over prompts.

0 for certain and right, 2 for certain and wrong, 1 − 1/V for a uniform guess over V tokens. Of a text task whose
questions have options, over these: Σ_options (p − score)², p the softmax of their log-probabilities.
"""

from __future__ import annotations

from interp.measure import scoring
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"logits": "answer", "question.brier": "all"}
DIMS, UNIT, ONLINE, KIND = (), "squared probability", True, "behaviour"


def brier(obs: Observation) -> Estimate:
    """From 0 to 2."""
    if obs["question.brier"] is not None:
        return scoring.mean(obs["question.brier"])
    return scoring.mean(scoring.brier(obs["logits"], obs.answers))
