"""When a circuit formed, was lost and formed again, from what was stored of it at each checkpoint, and how alike two are.

At every checkpoint a circuit is found on some prompts and tried on others: its own edges alone, everything else
carrying its value in the corrupt run. A prompt is *carried*, by the weak criterion, if the circuit prefers the right answer
to the wrong one on it, while the corrupt run prefers the wrong one: a quarter of the prompts for random logits, none for
logits that do not depend on the prompt. By the strict criterion, the one behaviour is judged by, the circuit alone gives the
right answer among all and the corrupt run does not. The circuit is *present* where the share carried is past a threshold,
half-way from chance to 1, at two checkpoints in a row. Times are intervals, from the last checkpoint before to the first
after; bands come from resampling prompts. Nothing here needs a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

CHANCE = 0.25  # of the weak criterion: two independent signs
THRESHOLD = 0.625  # half-way between the quarter that chance carries and all
STRICT = 0.5  # half-way between none and all: chance gives hardly any right answer among all
APART = 5.0
"""Two circuits begin this many spreads of their prompts' onsets apart (and as many checkpoints as GAP): halves of one spread
that is even, prompts that one circuit takes over gradually, are 3.2 apart."""
GAP = 3
LEAST_SHARE, LEAST_CLUSTER = 0.25, 6
"""Share and number of prompts that make a cluster of its own: fewer gather by chance in noise (tests/test_presence.py)."""
SURE = 1.5  # the evidence that a prompt is carried for good: four checkpoints in a row, at 1 − THRESHOLD each
ALIKE = 0.2
"""Clusters whose shares differ by less than this on average are one: their prompts come and go together."""
FALSE_RATE = 0.05  # of a run of 60 checkpoints by chance, that `least_prompts` holds


Interval = tuple[int | None, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """One stretch of checkpoints over which a circuit carries a set of prompts.

    formed: (last step without, first step with); (None, first) if it was there from the start.
    lost: (last step with, first step without), None if it is there at the end.
    band: `formed` in 95 % of the resamplings of the prompts.
    prompts: which of the prompts tried it carries (those of its cluster), by place. share: how many of all that is.
    replaced: (step, step) of checkpoints between which another circuit took over the same prompts.
    """

    formed: Interval
    lost: tuple[int, int] | None
    band: Interval
    prompts: tuple[int, ...]
    share: float
    replaced: tuple[tuple[int, int], ...] = ()


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


def presences(
    steps: Sequence[int],
    carried: Bool[np.ndarray, "step prompt"],
    *,
    inherited: Bool[np.ndarray, "step prompt"] | None = None,
    threshold: float = THRESHOLD,
    chance: float = CHANCE,
    n_resamples: int = 500,
    seed: int = 0,
) -> tuple[Presence, ...]:
    """Every presence of the circuit or circuits that carried these prompts, in order of formation.

    Prompts that start to be carried at times of their own, with a gap between, are clusters: different circuits carry them.
    inherited: what the *previous* checkpoint's circuit still carries at a checkpoint. Where it no longer does, and the
        checkpoint's own circuit does, the circuit was replaced; edges of other names that do the same are no replacement.
    """
    values = np.asarray(carried, dtype=bool)
    rng = np.random.default_rng(seed)
    found = []
    for prompts in clusters(values, chance=chance):
        mine = values[:, prompts]
        share = mine.mean(1)
        for first, end in _stretches(share >= threshold):
            band = _band(mine, first, end, threshold, n_resamples, rng)
            lost = (steps[end - 1], steps[end]) if end < len(steps) else None
            old = None if inherited is None else np.asarray(inherited, dtype=bool)[:, prompts].mean(1)
            # After a checkpoint without a circuit there is none that could have been replaced.
            held = [t for t in range(first + 1, end) if min(share[t - 1], share[t]) >= threshold]
            changed = [] if old is None else [t for t in held if old[t] < threshold]
            found.append(
                Presence(
                    formed=_interval(steps, first),
                    lost=lost,
                    band=(_interval(steps, band[0])[0], steps[band[1]]),
                    prompts=tuple(int(p) for p in prompts),
                    share=len(prompts) / values.shape[1],
                    replaced=tuple((steps[t - 1], steps[t]) for t in changed),
                )
            )
    return tuple(sorted(found, key=lambda presence: (presence.formed[1], presence.prompts)))


def clusters(carried: Bool[np.ndarray, "step prompt"], *, chance: float = CHANCE) -> list[np.ndarray]:
    """The prompts by which circuit carries them, told by when they begin to be carried: all prompts, or sets whose
    onsets lie APART."""
    n_steps, n_prompts = carried.shape
    everything = [np.arange(n_prompts)]
    onset = np.array([_onset(carried[:, p]) for p in range(n_prompts)])
    sets = _parted(onset, np.flatnonzero(onset < n_steps))
    # What is carried from the start by luck is no circuit: as many as chance gives, and two standard errors.
    luck = chance + 2 * math.sqrt(chance * (1 - chance) / n_prompts)
    least = [max(LEAST_CLUSTER, (luck if onset[s].max(initial=0) == 0 else LEAST_SHARE) * n_prompts) for s in sets]
    kept: list[np.ndarray] = []
    for each in (s for s, size in zip(sets, least, strict=True) if len(s) >= size):
        curve = carried[:, each].mean(1)
        if all(np.abs(curve - carried[:, other].mean(1)).mean() >= ALIKE for other in kept):
            kept.append(each)
    return kept if len(kept) > 1 else everything


def _parted(onset: Int[np.ndarray, "prompt"], prompts: np.ndarray) -> list[np.ndarray]:
    """The prompts in sets whose onsets lie APART, by the best split in two, and again within each."""
    ordered = prompts[np.argsort(onset[prompts], kind="stable")]
    best, cut = math.inf, 0
    for size in range(LEAST_CLUSTER, len(ordered) - LEAST_CLUSTER + 1):
        sums = sum(_spread(onset[part]) * len(part) for part in (ordered[:size], ordered[size:]))
        if onset[ordered[size - 1]] < onset[ordered[size]] and sums < best:
            best, cut = sums, size
    if not cut:
        return [prompts]
    early, late = ordered[:cut], ordered[cut:]
    distance = float(np.median(onset[late]) - np.median(onset[early]))
    # Within one checkpoint onsets are not told apart: no spread is smaller than its rounding, half of one.
    if distance <= max(GAP, APART * max(best / len(ordered), 0.5)):
        return [prompts]
    return [*_parted(onset, early), *_parted(onset, late)]


def _spread(values: Int[np.ndarray, "prompt"]) -> float:
    """The standard deviation by way of the mean distance from the median, as of a normal distribution."""
    return 1.25 * float(np.abs(values - np.median(values)).mean())


def _onset(on: Bool[np.ndarray, "step"]) -> int:
    """Where the stretch of most evidence begins, Σ (carried − THRESHOLD) over it; after the end where there is none."""
    best, start, sums, low = 0.0, len(on), 0.0, 0
    for t, each in enumerate(on):
        if sums <= 0:
            sums, low = 0.0, t
        sums += each - THRESHOLD
        if sums > best:
            best, start = sums, low
    return start if best >= SURE else len(on)


def least_prompts(n_checkpoints: int = 60, threshold: float = THRESHOLD, chance: float = CHANCE) -> int:
    """The number of prompts tried from which chance reaches the threshold in at most FALSE_RATE of runs of so many
    independent checkpoints (a binomial tail; checkpoints in a row that depend on each other make it rarer)."""
    for n in range(1, 1000):
        least = math.ceil(threshold * n - 1e-9)
        tail = math.fsum(math.comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(least, n + 1))
        if 1 - (1 - tail) ** n_checkpoints <= FALSE_RATE:
            return n
    return 1000


def _runs(on: Bool[np.ndarray, "step"]) -> list[tuple[int, int]]:
    """(first, end) of every stretch of trues."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(int)))
    return [(int(first), int(end)) for first, end in zip(changes[::2], changes[1::2], strict=True)]


def _stretches(above: Bool[np.ndarray, "step"]) -> list[tuple[int, int]]:
    """Stretches above, where two in a row make it present and two in a row make it absent (at the end of the run, one)."""
    lasting = [(first, end) for first, end in _runs(above) if end - first > 1 or end == len(above)]
    joined: list[tuple[int, int]] = []
    for first, end in lasting:
        if joined and first - joined[-1][1] < 2:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    return joined


def _band(
    carried: Bool[np.ndarray, "step prompt"], first: int, end: int, threshold: float, n: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Where the stretch begins in 95 % of the resamplings of its prompts (those in which it is there)."""
    n_prompts = carried.shape[1]
    weights = rng.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=n)
    places = []
    for drawn in (carried.astype(float) @ weights.T / n_prompts).T:
        meeting = [a for a, b in _stretches(drawn >= threshold) if a < end and b > first]
        places += meeting[:1]
    low, high = (int(q) for q in np.quantile(places or [first], [0.025, 0.975], method="nearest"))
    return low, high


def _interval(steps: Sequence[int], place: int) -> Interval:
    return (steps[place - 1] if place else None, steps[place])


def similarity(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """Weighted Jaccard index of the sizes of scores by name, Σ min(|a|, |b|) / Σ max(|a|, |b|) (Tigges et al. 2024,
    arXiv 2407.10827): 1 for equal ones, 0 for disjoint ones, NaN where all are zero. What has no score counts as 0."""
    pairs = [(abs(a.get(name, 0.0)), abs(b.get(name, 0.0))) for name in a.keys() | b.keys()]
    most = math.fsum(max(pair) for pair in pairs)
    return math.fsum(min(pair) for pair in pairs) / most if most > 0 else math.nan
