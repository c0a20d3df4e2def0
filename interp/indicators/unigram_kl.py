"""Distance to the in-context unigram predictor, in nats (Edelman et al. 2024, arXiv 2402.11004): KL(reference ‖
model), mean over the scored positions of the test split. The reference's predictions, which ignore the order of what
was seen, come from `task.structure.references`; NaN for tasks without them."""

from __future__ import annotations

from interp.indicators._log_probs import reference_kl
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"test.logits": "answer"}
DIMS, UNIT, ONLINE, KIND = (), "nats", True, "behaviour"


def unigram_kl(obs: Observation) -> Estimate:
    """At least 0; 0 where the model predicts as the reference does."""
    return reference_kl(obs, "unigram")
