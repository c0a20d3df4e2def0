"""Scale of the logits at the answer position: root mean square over the vocabulary of the mean-centred logits, mean
over prompts.

Grows without end once the training data are fitted; a strong baseline for whatever follows confidence.
"""

from __future__ import annotations

from interp.measure.observe import Observation
from interp.measure.scoring import mean
from interp.types import Estimate

NEEDS = {"logits": "answer"}
DIMS, UNIT, ONLINE = (), "logits", True


def logit_scale(obs: Observation) -> Estimate:
    """0 where all tokens are equally likely."""
    return mean(obs.logits.double().std(dim=-1, correction=0))
