"""Log-probability of the whole right answer, in nats: Σ over its tokens of ln p(token | prompt, right tokens before),
mean over prompts. Of a text task that lists its questions, of the first accepted answer or the best option."""

from __future__ import annotations

from interp.measure import scoring
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"logits": "answer", "question.log_prob": "all"}
DIMS, UNIT, ONLINE, KIND = (), "nats", True, "behaviour"


def log_prob(obs: Observation) -> Estimate:
    """At most 0."""
    if obs["question.log_prob"] is not None:
        return scoring.mean(obs["question.log_prob"])
    return scoring.mean(scoring.log_prob(obs["logits"], obs.answers))
