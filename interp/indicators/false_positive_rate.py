"""P(the positive option is chosen | it is wrong), over a text task's questions and in each group of them (Ganguli et
al. 2022, arXiv 2202.07785, §2.3). NaN where the task names no positive option."""

from __future__ import annotations

import math

from interp.measure import scoring
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"question.false_positive": "all"}
DIMS, UNIT, ONLINE, KIND = (), "share", True, "behaviour"


def false_positive_rate(obs: Observation) -> Estimate:
    """In [0, 1]; NaN where the positive option is wrong in no question."""
    found = obs["question.false_positive"]
    return Estimate(math.nan, math.nan, 0) if found is None else scoring.mean(found)
