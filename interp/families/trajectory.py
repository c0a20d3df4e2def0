"""Whether the checkpoints of a run lie in the order of their steps, as far as their weights show it.

Training moves away from where it was: the distance between two checkpoints grows with the steps between them, along a straight
line as along a random walk. So two files that were exchanged make the way through all of them longer; a file that belongs
elsewhere lies nearer to that place than to its neighbours; another run's lies far off. Distances are Euclidean, over an even
sample of the weights: any part of the weights walks by the same rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

STRAY = 0.7
"""A checkpoint is apart when its neighbours are closer to each other than this share of its distance to the nearer one.
Along a random walk the share is 1.4, along a straight path 2."""

EXCHANGED = 0.85
"""Two neighbours are exchanged when the ways in and out are shorter than this share with them the other way round. Of sound
neighbours at even distances the share is 1.4 (a walk) to 2 (a line), of exchanged ones 0.7 to 0.5: between 0.7 and 1, by choice."""

FAR = 10.0
"""The first or last checkpoint is another run's when it lies this many times as far from its neighbour, a step, as any two
neighbours lie that are no further apart in steps. The first step of Adam is at most its largest; of SGD it may be a few
times as long as the next. A choice."""

SAMPLE = 1 << 15
"""Weights that distances are over (a choice): of 32,768 a distance is off by less than a hundredth."""


def sketch(weights: Mapping[str, Tensor]) -> Float[Tensor, "weight"]:
    """An even sample of the weights, by name."""
    import torch

    every = max(1, sum(value.numel() for value in weights.values()) // SAMPLE)
    return torch.cat([weights[name].flatten()[::every].float() for name in sorted(weights)])


def disorder(steps: Sequence[int], sketches: Float[Tensor, "checkpoint weight"]) -> list[tuple[list[int], str]]:
    """What does not lie in order: the steps concerned, and what is wrong with them. Steps increase."""
    n = len(steps)
    if n < 3:
        return []
    apart = _distances(sketches)
    exchanged = [i for i in range(n - 1) if n > 3 and _turned(apart, i) < EXCHANGED]
    # at an end one way alone speaks: the pair beside it, which has two, is believed before it
    exchanged = [i for i in exchanged if not (i == 0 and 1 in exchanged) and not (i == n - 2 and n - 3 in exchanged)]
    # a file that is out of place by itself makes both its pairs look exchanged: it is told of as a stray
    exchanged = [i for i in exchanged if i - 1 not in exchanged and i + 1 not in exchanged]
    found = [
        ([steps[i], steps[i + 1]], "exchanged? The way through the weights around them is shorter the other way round")
        for i in exchanged
    ]
    told = {i for first in exchanged for i in (first, first + 1)}
    for i in range(1, n - 1):
        around, nearest = apart[i - 1][i + 1], min(apart[i - 1][i], apart[i][i + 1])
        if i not in told and 0 < around < STRAY * nearest:
            found.append(([steps[i]], _stray(nearest, around)))
            told |= {i}
    for end, order in ((0, range(n)), (n - 1, range(n - 1, -1, -1))):
        if end not in told and order[1] not in told:
            found += _wrong_end(steps, apart, [i for i in order if i == end or i not in told])
    return found


def unseen(steps: Sequence[int], sketches: Float[Tensor, "checkpoint weight"]) -> str | None:
    """What an order by distances cannot tell of this run; None if it could tell any two neighbours from exchanged ones."""
    if len(steps) < 4:
        return f"{len(steps)} checkpoints are too few to show their order"
    apart = _distances(sketches)
    blind = [i for i in range(len(steps) - 1) if not _turned(apart, i) > 1 / EXCHANGED]
    if not blind:
        return None
    pairs = ", ".join(f"{steps[i]}/{steps[i + 1]}" for i in blind[:4]) + (", …" if len(blind) > 4 else "")
    return f"{len(blind)} of {len(steps) - 1} pairs of neighbours could be exchanged and not show it ({pairs})"


def _distances(sketches: Tensor) -> list[list[float]]:
    import torch

    # differences, not products of norms: checkpoints a step apart differ by a thousandth of their length
    return torch.cdist(sketches, sketches, compute_mode="donot_use_mm_for_euclid_dist").tolist()


def _turned(apart: list[list[float]], i: int) -> float:
    """How long the ways in and out of the pair (i, i + 1) are the other way round, as a share of what they are."""
    before, after = i - 1, i + 2
    now = turned = 0.0
    if before >= 0:
        now, turned = now + apart[before][i], turned + apart[before][i + 1]
    if after < len(apart):
        now, turned = now + apart[i + 1][after], turned + apart[i][after]
    return turned / now if now > 0 else float("nan")


def _stray(nearest: float, around: float) -> str:
    return (
        f"its weights lie apart from both neighbours (at least {nearest:.3g} away, which are {around:.3g} from each other): "
        "weights of another step or run?"
    )


def _wrong_end(steps: Sequence[int], apart: list[list[float]], order: list[int]) -> list[tuple[list[int], str]]:
    """The first checkpoint in `order` (the run's first or last), against all others."""
    end, beside, *others = order
    near = min(others, key=lambda i: apart[end][i])
    if 0 < apart[end][near] < EXCHANGED * apart[end][beside]:
        return [([steps[end]], f"its weights lie nearer to step {steps[near]} than to step {steps[beside]} beside it")]
    gap = abs(steps[end] - steps[beside])
    short = [apart[i][j] for i, j in pairwise(order[1:]) if abs(steps[i] - steps[j]) <= gap]
    if len(short) >= 2 and apart[end][beside] > FAR * max(short) > 0:
        said = (
            f"its weights lie {apart[end][beside]:.3g} from step {steps[beside]} beside it, and no others as near in steps "
            f"more than {max(short):.3g} apart: another run's?"
        )
        return [([steps[end]], said)]
    return []
