"""Loss of every group of prompts, in nats: −ln p(whole right answer | prompt), mean over the group's prompts.

The groups are those of `group_accuracy`, beside whose jumps it stands; weighted by the groups' shares it sums to
−log_prob.
"""

from __future__ import annotations

from interp.indicators._groups import by_group
from interp.measure import scoring
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"logits": "answer"}
DIMS, UNIT, ONLINE, KIND = ("component",), "nats", True, "behaviour"


def group_loss(obs: Observation) -> dict[str, Estimate | float]:
    """At least 0 for every group among the prompts (`subtask3`); NaN for tasks without groups."""
    return by_group(obs, -scoring.log_prob(obs["logits"], obs.answers))
