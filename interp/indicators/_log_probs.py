"""Log-probabilities and losses of what the shared passes kept."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from interp.measure.scoring import log_softmax, pick, sequence_mean, token_log_probs
from interp.types import Estimate

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from interp.measure.observe import Observation


def answer_log_probs(
    obs: Observation, logits: Float[Tensor, "prompt answer_len vocab"] | None = None
) -> Float[Tensor, "prompt answer_len"]:
    """Log-probability, in nats, of each answer token given the right ones before it; NaN after the last. `logits`
    may be others' than those kept of the shared pass."""
    return token_log_probs(obs["logits"] if logits is None else logits, obs.answers)


def split_losses(obs: Observation, split: str) -> Float[Tensor, "scored"]:
    """Cross-entropy, in nats, at every scored position of a split."""
    return -pick(log_softmax(obs[f"{split}.logits"]), obs.targets(split))


def scored_positions(obs: Observation, split: str) -> Bool[Tensor, "prompt pos"]:
    """Where the split is scored."""
    return obs.splits[split].targets >= 0


def reference_kl(obs: Observation, name: str) -> Estimate:
    """KL(reference ‖ model), in nats, over the scored positions of the test split; NaN where the task has no such
    reference."""
    references = obs.task.structure.references
    if references is None:
        return Estimate(math.nan, math.nan, 0)
    scored = scored_positions(obs, "test")
    wanted = references(obs.splits["test"].tokens)[name][scored].double()
    divergence = -torch.special.entr(wanted).sum(dim=-1) - (wanted * log_softmax(obs["test.logits"])).sum(dim=-1)
    return sequence_mean(divergence, scored)
