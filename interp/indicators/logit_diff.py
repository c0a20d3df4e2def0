"""Logit difference between the right and the wrong answer, at the first token in which they differ, mean over
prompts."""

from __future__ import annotations

from interp.measure import scoring
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"logits": "answer"}
DIMS, UNIT, ONLINE, KIND = (), "logits", True, "behaviour"


def logit_diff(obs: Observation) -> Estimate:
    """Prompts whose two answers are the same, or where one is the beginning of the other, are left out."""
    return scoring.mean(scoring.logit_diff(obs["logits"], obs.answers, obs.wrong_answers))
