"""Accuracy of every token of the answer: share of the prompts where it has the largest logit, after the right tokens
before it."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interp.measure.observe import Observation

NEEDS = {"logits": "answer"}
DIMS, UNIT, ONLINE, KIND = ("digit",), "share", True, "behaviour"


def digit_accuracy(obs: Observation) -> Float[Tensor, "digit"]:
    """In [0, 1]; digits count from the answer's first token; NaN where no prompt's answer is that long."""
    right = (obs["logits"].argmax(dim=-1) == obs.answers).double()
    return right.masked_fill(obs.answers < 0, float("nan")).nanmean(dim=0)
