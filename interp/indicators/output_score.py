"""Mean score of open-ended outputs, by the function that the task names: of each question's samples, then over
questions (`from_file` with `score`). NaN for every other task."""

from __future__ import annotations

import math

from interp.measure import scoring
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"question.score": "all"}
DIMS, UNIT, ONLINE, KIND = (), "score", True, "behaviour"


def output_score(obs: Observation) -> Estimate:
    """In the function's own range; the standard error is over questions."""
    found = obs["question.score"]
    return Estimate(math.nan, math.nan, 0) if found is None else scoring.mean(found)
