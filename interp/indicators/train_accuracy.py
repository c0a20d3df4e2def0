"""Token accuracy on the training split: share of the scored positions where the target has the largest logit."""

from __future__ import annotations

from interp.indicators._log_probs import scored_positions
from interp.measure.observe import Observation
from interp.measure.scoring import sequence_mean
from interp.types import Estimate

NEEDS = {"train.logits": "answer"}
DIMS, UNIT, ONLINE, KIND = (), "share", True, "behaviour"


def train_accuracy(obs: Observation) -> Estimate:
    """Share in [0, 1], with a standard error clustered by sequence (binomial where each has one scored position)."""
    right = obs["train.logits"].argmax(dim=-1) == obs.targets("train")
    return sequence_mean(right.double(), scored_positions(obs, "train"))
