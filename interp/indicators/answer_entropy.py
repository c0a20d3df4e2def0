"""Entropy, in nats, of the distribution over the answer's first token, mean over prompts: how undecided the model
is, right or wrong."""

from __future__ import annotations

from torch.special import entr

from interp.measure.observe import Observation
from interp.measure.scoring import log_softmax, mean
from interp.types import Estimate

NEEDS = {"logits": "answer"}
DIMS, UNIT, ONLINE = (), "nats", True


def answer_entropy(obs: Observation) -> Estimate:
    """From 0 (certain) to ln V (uniform over V tokens)."""
    return mean(entr(log_softmax(obs.logits).exp()).sum(dim=-1))
