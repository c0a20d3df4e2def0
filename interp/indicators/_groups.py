"""Scores of the prompts, group by group."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from interp.measure.observe import Observation
from interp.measure.scoring import mean
from interp.types import Estimate

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def by_group(obs: Observation, scores: Float[Tensor, "prompt"]) -> dict[str, Estimate | float]:
    """The mean score of every group that `task.structure.groups(tokens)` finds among the prompts, under the group's
    name and number (`subtask3`); {"": NaN} for tasks without groups."""
    groups = obs.task.structure.groups
    if groups is None:
        return {"": math.nan}
    return {
        f"{name}{number}": mean(scores[member == number])
        for name, member in groups(obs.prompts.clean).items()
        for number in member.unique().tolist()
    }
