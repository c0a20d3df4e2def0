"""Loss of every token of the answer, in nats: −ln p(token | prompt, right tokens before it), mean over prompts.

Digits of a sum are learned one by one (Quirke & Barez 2024, arXiv 2310.13121), each in a jump of its own.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interp.indicators._log_probs import answer_log_probs
from interp.measure.observe import Observation

NEEDS = {"logits": "answer"}
DIMS, UNIT, ONLINE, KIND = ("digit",), "nats", True, "behaviour"


def digit_loss(obs: Observation) -> Float[Tensor, "digit"]:
    """Digits count from the answer's first token; NaN where no prompt's answer is that long."""
    return -answer_log_probs(obs).nanmean(dim=0)
