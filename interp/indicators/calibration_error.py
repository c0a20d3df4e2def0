"""Expected calibration error on the test split (Guo et al. 2017, arXiv 1706.04599): over equal bins of the top
probability, the mean of |share right − mean top probability| weighted by the bin's share of the predictions.
Of a text task whose questions have options, over these: the top probability is the largest of their softmax."""

from __future__ import annotations

from interp.measure import scoring
from interp.measure.observe import Observation
from interp.measure.scoring import log_softmax
from interp.types import Estimate

NEEDS = {"test.logits": "answer", "question.confidence": "all", "question.right": "all"}
DIMS, UNIT, ONLINE, KIND = (), "probability", True, "behaviour"


def calibration_error(obs: Observation, *, bins: int = 15) -> Estimate:
    """In [0, 1]; NaN where nothing is scored."""
    if obs["question.confidence"] is not None:
        return scoring.calibration_error(obs["question.confidence"], obs["question.right"], bins=bins)
    top = log_softmax(obs["test.logits"]).exp().max(dim=-1)
    return scoring.calibration_error(top.values, top.indices == obs.targets("test"), bins=bins)
