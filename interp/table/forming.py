"""When a circuit formed, from what was stored of it at each checkpoint, and how alike two circuits are.

At every checkpoint a circuit is found on some prompts and tried on others: its own edges alone, everything else
carrying its value in the corrupt run. A prompt is *carried* if the circuit prefers the right answer on it, while the
corrupt run prefers the wrong one: a quarter of the prompts for random logits, none for logits that do not depend on the
prompt. The circuit has formed where the share carried passes half-way from that quarter to 1 and is still there at the
next checkpoint. The time is an interval, from the last checkpoint before to the first after; its band comes from
resampling prompts. Nothing here needs a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

THRESHOLD = 0.625  # half-way between the quarter that chance carries and all


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """When a circuit formed.

    interval: (last step before, first step after); None where it did not form. The first is None if it was there from
        the start.
    band: the same from 95 % of the resamplings of the prompts, None without a formation.
    declared_at: the checkpoint at which this was known; nothing after it was used.
    share: how many of the resamplings have a formation at all.
    """

    interval: tuple[int | None, int] | None
    band: tuple[int | None, int] | None
    declared_at: int | None
    share: float


def when_formed(
    steps: Sequence[int],
    carried: Bool[np.ndarray, "step prompt"],
    *,
    threshold: float = THRESHOLD,
    n_resamples: int = 500,
    seed: int = 0,
) -> When:
    """When the circuit formed whose prompts were carried like this, checkpoint by checkpoint, in order of steps."""
    values = np.asarray(carried, dtype=float)
    n_prompts = values.shape[1]
    place = first_lasting(values.mean(1), threshold)
    weights = np.random.default_rng(seed).multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=n_resamples)
    places = [first_lasting(drawn, threshold) for drawn in (values @ weights.T / n_prompts).T]
    found = sorted(p for p in places if p is not None)
    share = len(found) / n_resamples if n_resamples else math.nan
    if place is None:
        return When(interval=None, band=None, declared_at=None, share=share)
    low, high = (int(q) for q in np.quantile(found or [place], [0.025, 0.975], method="nearest"))
    return When(
        interval=(steps[place - 1] if place else None, steps[place]),
        band=(steps[low - 1] if low else None, steps[high]),
        declared_at=steps[min(place + 1, len(steps) - 1)],
        share=share,
    )


def first_lasting(values: Float[np.ndarray, "step"], threshold: float) -> int | None:
    """The first place from which a value reaches the threshold at two checkpoints in a row (at the end of the run, at
    one)."""
    above = values >= threshold
    lasting = above & np.append(above[1:], True)
    return int(lasting.argmax()) if lasting.any() else None


def similarity(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """Weighted Jaccard index of the sizes of scores by name, Σ min(|a|, |b|) / Σ max(|a|, |b|) (Tigges et al. 2024,
    arXiv 2407.10827): 1 for equal ones, 0 for disjoint ones, NaN where all are zero. What has no score counts as 0."""
    pairs = [(abs(a.get(name, 0.0)), abs(b.get(name, 0.0))) for name in a.keys() | b.keys()]
    most = math.fsum(max(pair) for pair in pairs)
    return math.fsum(min(pair) for pair in pairs) / most if most > 0 else math.nan
