"""Root of the mean squared error of numeric answers, over the outputs that are numbers; in the answer's own unit.

Of a text task whose questions all have one number as their answer (`from_file`); NaN for every other.
"""

from __future__ import annotations

import math

from interp.measure import scoring
from interp.measure.observe import Observation
from interp.types import Estimate

NEEDS = {"question.error": "all"}
DIMS, UNIT, ONLINE, KIND = (), "answer's unit", True, "behaviour"


def rmse(obs: Observation) -> Estimate:
    """At least 0, with the delta method's standard error; NaN where no output is a number."""
    errors = obs["question.error"]
    return Estimate(math.nan, math.nan, 0) if errors is None else scoring.rmse(errors)
