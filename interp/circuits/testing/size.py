"""How many edges a behaviour needs: the smallest part of a ranking that is faithful enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from interp.circuits._attribution import Pair
from interp.circuits._circuit import Circuit
from interp.circuits.testing.faithfulness import checked_pair, means_under, normalised

if TYPE_CHECKING:
    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts

GRID = 14


def smallest_faithful(
    model: Model,
    prompts: Prompts,
    circuit: Circuit,
    *,
    target: float = 0.8,
    ablation: str = "corrupt",
    metric: Metric | None = None,
) -> Circuit | None:
    """The first n of the ranking, n as small as a geometric grid and one refinement find it, with faithfulness >=
    `target`.

    None where clean and replaced runs do not differ, or no size reaches the target.
    """
    return smallest_in(checked_pair(model, prompts, circuit, metric), circuit, target=target, ablation=ablation)


def smallest_in(pair: Pair, circuit: Circuit, *, target: float, ablation: str = "corrupt") -> Circuit | None:
    """As `smallest_faithful`, for a question already made ready."""
    ranking = circuit.ranking()
    most, least = len(ranking), 0
    for _ in range(2):
        sizes = sorted({int(n) for n in np.geomspace(least + 1, most, GRID).round()}) if most else []
        enough = [n for n, f in zip(sizes, _curve(pair, circuit, ranking, sizes, ablation), strict=True) if f >= target]
        if not enough:
            return None
        least, most = max([n for n in sizes if n < enough[0]], default=0), enough[0]
        if most == least + 1:
            break
    return circuit.top(most).pruned()  # an edge on no way to the logits is none of those that are needed


def _curve(
    pair: Pair, circuit: Circuit, ranking: Sequence[tuple[int, int]], sizes: Sequence[int], ablation: str
) -> list[float]:
    masks = torch.zeros(len(sizes), *circuit.graph.edges.shape)
    for mask, size in zip(masks, sizes, strict=True):
        for row, column in ranking[:size]:
            mask[row, column] = 1.0
    values, clean, empty = means_under(pair, masks, ablation=ablation)
    return [normalised(value, clean, empty) for value in values]
