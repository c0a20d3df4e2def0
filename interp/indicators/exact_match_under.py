"""Exact match under the interventions that the model trains under: share of the prompts whose greedy answer is right in every
token while heads are clamped, ablated or forbidden as they are at this step. Without any, `exact_match`."""

from __future__ import annotations

from interp.indicators._under import logits_under
from interp.measure import scoring
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"logits": "answer"}
DIMS, UNIT, ONLINE, KIND = (), "share", True, "behaviour"


def exact_match_under(obs: Observation) -> Estimate:
    """Share in [0, 1] with its binomial standard error."""
    return scoring.mean(scoring.exact_match(logits_under(obs), obs.answers))
