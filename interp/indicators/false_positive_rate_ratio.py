"""Each group's false-positive rate over that of the task's reference group, the component being the group (Ganguli et
al. 2022, arXiv 2202.07785, §2.3): 1 where both are equal. NaN where the task has no groups or no positive option."""

from __future__ import annotations

import math

from interp.measure.observe import Observation
from interp.measure.summary import Answers, false_positive_ratios
from interp.types import Estimate

NEEDS = {"question.false_positive": "all"}
DIMS, UNIT, ONLINE, KIND = ("component",), "ratio", True, "behaviour"


def false_positive_rate_ratio(obs: Observation) -> dict[str, Estimate | float]:
    """At least 0, with the delta method's standard error; NaN where the reference group's rate is 0."""
    found = obs["question.false_positive"]
    text = obs.task.text
    if found is None or text is None:
        return {"": math.nan}
    asked = Answers(examples=obs.examples, scores={"false_positive": found}, n_tokens=0)
    return {**false_positive_ratios(asked, text.protocol)} or {"": math.nan}
