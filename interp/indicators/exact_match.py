"""Exact match: share of the prompts whose greedy answer is right in every token.

One pass with the right answer as input suffices: as long as all tokens so far are right, greedy decoding reads the
same. Of a text task that lists its questions, what the model writes by itself, up to where the task says that an answer
ends, is compared with every accepted answer.
"""

from __future__ import annotations

from interp.measure import scoring
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"logits": "answer", "question.exact_match": "all"}
DIMS, UNIT, ONLINE, KIND = (), "share", True, "behaviour"


def exact_match(obs: Observation) -> Estimate:
    """Share in [0, 1] with its binomial standard error."""
    if obs["question.exact_match"] is not None:
        return scoring.mean(obs["question.exact_match"])
    return scoring.mean(scoring.exact_match(obs["logits"], obs.answers))
