"""Probability of the whole right answer, mean over prompts: what sampling at temperature 1 gets right. Of a
text task that lists its questions, of the first accepted answer or the best option."""

from __future__ import annotations

from interp.measure import scoring
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"logits": "answer", "question.prob": "all"}
DIMS, UNIT, ONLINE, KIND = (), "probability", True, "behaviour"


def answer_prob(obs: Observation) -> Estimate:
    """In [0, 1]; the product over the answer's tokens."""
    if obs["question.prob"] is not None:
        return scoring.mean(obs["question.prob"])
    return scoring.mean(scoring.prob(obs["logits"], obs.answers))
