"""Cross-entropy on the training split, in nats: mean of −ln p(target) over its scored positions, in float64."""

from __future__ import annotations

from interp.indicators._log_probs import scored_positions, split_losses
from interp.measure.observe import Observation
from interp.measure.scoring import sequence_mean
from interp.types import Estimate

NEEDS = {"train.logits": "answer"}
DIMS, UNIT, ONLINE, KIND = (), "nats", True, "behaviour"


def train_loss(obs: Observation) -> Estimate:
    """Mean loss over the scored positions, with a standard error clustered by sequence."""
    return sequence_mean(split_losses(obs, "train"), scored_positions(obs, "train"))
