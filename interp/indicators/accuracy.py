"""Token accuracy on the test split: share of the scored positions where the target has the largest logit. Of a text
task whose questions have options, the score of the likeliest option (BIG-bench's multiple-choice grade)."""

from __future__ import annotations

from interp.indicators._log_probs import scored_positions
from interp.measure import scoring
from interp.measure.observe import Observation
from interp.measure.scoring import sequence_mean
from interp.types import Estimate

NEEDS = {"test.logits": "answer", "question.multiple_choice_grade": "all"}
DIMS, UNIT, ONLINE, KIND = (), "share", True, "behaviour"


def accuracy(obs: Observation) -> Estimate:
    """Share in [0, 1], with a standard error clustered by sequence (binomial where each has one scored position)."""
    if obs["question.multiple_choice_grade"] is not None:
        return scoring.mean(obs["question.multiple_choice_grade"])
    right = obs["test.logits"].argmax(dim=-1) == obs.targets("test")
    return sequence_mean(right.double(), scored_positions(obs, "test"))
