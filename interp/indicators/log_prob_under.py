"""Log-probability of the whole right answer under the interventions that the model trains under, in nats: `log_prob` while
heads are clamped, ablated or forbidden as they are at this step. Without any, `log_prob`. A scale of the training loss's logits
is no part of the model."""

from __future__ import annotations

from interp.indicators._under import logits_under
from interp.measure import scoring
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"logits": "answer"}
DIMS, UNIT, ONLINE, KIND = (), "nats", True, "behaviour"


def log_prob_under(obs: Observation) -> Estimate:
    """At most 0."""
    return scoring.mean(scoring.log_prob(logits_under(obs), obs.answers))
