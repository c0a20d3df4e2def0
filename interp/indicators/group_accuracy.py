"""Exact match of every group of prompts: share of the group's prompts whose greedy answer is right in every token.

`task.structure.groups(tokens)` sorts the prompts: by sub-task, depth, distance, … A skill of several sub-tasks is
learned in several jumps, which the mean over all prompts blurs (Michaud et al. 2023, arXiv 2303.13506).
"""

from __future__ import annotations

from interp.indicators._groups import by_group
from interp.measure import scoring
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"logits": "answer"}
DIMS, UNIT, ONLINE, KIND = ("component",), "share", True, "behaviour"


def group_accuracy(obs: Observation) -> dict[str, Estimate | float]:
    """In [0, 1] for every group among the prompts (`subtask3`), with its binomial standard error; NaN for tasks
    without groups."""
    return by_group(obs, scoring.exact_match(obs["logits"], obs.answers))
