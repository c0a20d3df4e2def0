"""Did the circuit form before the behaviour rose? By the weak criterion and by the strict one, of runs that jump.

`formation/` has a row a run (`interp.report.formation`): between which checkpoints the circuit formed that the run's own checkpoints
show, on prompts it was not found on, and when the whole model did the same by the weak criterion: what is found in the model as
early as in the circuit is no news of the circuit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.study.boards import Judged

CRITERIA = {"weak": ("formed", "model"), "strict": ("strict", None)}


def forming(judged: Sequence[Judged], formation: pd.DataFrame) -> list[dict[str, Any]]:
    """By family, part and criterion: in how many runs the circuit formed at all, was there at T for sure (last checkpoint
    without it and first with it both at or before T), may have been (the first of the two alone), and in how many of those where
    it formed the whole model was there as early."""
    out = []
    for each in judged:
        T = {run: float(each.panel.T[k]) for k, run in enumerate(each.panel.runs) if each.panel.event[k]}
        own = formation[formation["run"].isin(list(T))] if len(formation) else formation
        for criterion, (circuit, model) in CRITERIA.items() if len(own) else ():
            jump = own["run"].map(T).to_numpy(float)
            before, after = (own[f"{circuit}_{end}"].to_numpy(float) for end in ("before", "after"))
            formed = np.isfinite(after)
            whole = own[f"{model}_after"].to_numpy(float) if model else np.full(len(own), np.nan)
            out.append({
                "family": each.family, "part": each.part, "criterion": criterion, "n": len(own), "formed": int(formed.sum()),
                "before": int((after <= jump).sum()), "perhaps": int((formed & (np.nan_to_num(before, nan=-1.0) < jump)).sum()),
                "model_by_then": int((whole[formed] <= after[formed]).sum()) if model else None,
                "median_ratio": float(np.median(after[formed] / jump[formed])) if formed.any() else np.nan,
            })  # fmt: skip
    return out
