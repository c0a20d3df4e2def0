"""Levenshtein distance, in tokens, from the most likely token at each place of the answer to the right ones, mean over
prompts: partial credit for answers of several tokens. Of a text task that lists its questions, in characters, from what
the model writes by itself to the nearest accepted answer."""

from __future__ import annotations

from interp.measure import scoring
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"logits": "answer", "question.edit_distance": "all"}
DIMS, UNIT, ONLINE, KIND = (), "symbols", True, "behaviour"


def edit_distance(obs: Observation) -> Estimate:
    """0 where every token is right; each place is predicted after the right tokens before it (a text's answer is written freely)."""
    if obs["question.edit_distance"] is not None:
        return scoring.mean(obs["question.edit_distance"])
    return scoring.mean(scoring.edit_distance(obs["logits"], obs.answers))
