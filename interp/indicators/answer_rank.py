"""Rank of the answer's first token among the logits, mean over prompts: 1 is the top; ties count half."""

from __future__ import annotations

from interp.measure import scoring
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"logits": "answer"}
DIMS, UNIT, ONLINE, KIND = (), "rank", True, "behaviour"


def answer_rank(obs: Observation) -> Estimate:
    """From 1 to the size of the vocabulary."""
    return scoring.mean(scoring.rank(obs["logits"], obs.answers))
