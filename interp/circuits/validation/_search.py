"""Which components are looked at, on which prompts, and what taking them out of the whole model shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from interp.circuits._circuit import Circuit
from interp.circuits.validation._effects import SHARES, Ground, faded, gradients, without
from interp.circuits.validation._groups import Group, backups, cancelling, confirmed, smallest
from interp.circuits.validation._views import rows_to_check, views

if TYPE_CHECKING:
    from interp.models import Model
    from interp.types import Prompts

SEARCH_PROMPTS, SEARCH_LEAST = 8, 4
"""Groups are searched on an eighth of the prompts, these at most and at least: 45 pairs in two views then cost
about 12 runs of all prompts."""
COMPONENTS, OUTSIDE, WAKING = 10, 3, 4
"""Components whose pairs are tried: those of the circuit first, then those that gradients find, at least OUTSIDE of them. WAKING
of the first are taken out to see what wakes up."""
IDLE = 0.02
"""Components of the circuit with less than this share of the behaviour, by score and gradient, have no right of way: behind a
norm every component has some effect."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Search:
    """What taking components out of the whole model shows.

    single: component -> its effect alone. spare, opposed: groups that stand in for each other, and that cancel.
    slopes: gradients at the clean run. runs: of the few prompts, all this took.
    """

    single: dict[str, float]
    spare: list[Group]
    opposed: list[Group]
    slopes: np.ndarray
    runs: float


def search(model: Model, prompts: Prompts, circuit: Circuit, here: Ground, few: Ground, rows: torch.Tensor) -> Search:
    seen, edges = views(model, prompts, rows, here), here.pair.graph.edges
    names, slopes, n_gradients = _candidates(circuit, few, seen)
    runs = [3.0 * n_gradients]
    known: dict[tuple[int, Group], float] = {}

    def effect(view: Ground, groups: Sequence[Group]) -> list[float]:
        new = [group for group in dict.fromkeys(groups) if (id(view), group) not in known]
        if new:
            runs[0] += (len(new) + 1) * view.pair.n_prompts / len(rows)
            known.update(zip([(id(view), group) for group in new], view.effects(new, edges), strict=True))
        return [known[id(view), group] for group in groups]

    single = dict(zip(names, effect(few, [(name,) for name in names]), strict=True))
    spare = backups(names, [partial(effect, view) for view in seen])
    if spare:  # what few prompts showed is tried on others
        check = rows_to_check(here.pair.n_prompts, rows)
        runs[0] += 4 * len(check) / len(rows)
        others = views(model, prompts, check, here)
        spare = smallest(confirmed(spare, [partial(effect, view) for view in others]))
    opposed = cancelling(single, [partial(effect, view) for view in (few, *seen[-1:])])
    return Search(single=single, spare=list(spare), opposed=list(opposed), slopes=slopes, runs=runs[0])


def _candidates(circuit: Circuit, few: Ground, seen: Sequence[Ground]) -> tuple[list[str], np.ndarray, int]:
    """The components that are looked at, the gradients of all at the clean run, and how many gradients that took.

    First those of the circuit that count, by the size of their scores; then, and some of them in any case, those that
    gradients find: the mean of them while components fade, which sees what is saturated at the clean run, and what is
    added to them where one of the first is taken out, which sees what wakes up then."""
    writers, edges = circuit.graph.writers, circuit.graph.edges
    along = [
        gradients(view, faded(edges)).sum(1) for view in (few, *(view for view in seen if view.ablation != "zero"))
    ]
    slope = np.nan_to_num(np.abs([each.mean(0) for each in along])).max(0)
    own = circuit.scores.where(circuit.included, torch.tensor(torch.nan)).abs().nansum(0).tolist()
    inside = components_of(circuit)
    order = sorted(range(1, len(writers)), key=lambda at: (writers[at] not in inside, -own[at], -slope[at]))
    n_gradients = len(along) * len(SHARES)
    empty = next((view for view in seen if view.ablation == "zero"), None)
    if empty is not None:
        masks = torch.stack([edges, *(without(edges, [at]) for at in order[:WAKING])]).float()
        whole, *less = np.nan_to_num(np.abs(gradients(empty, masks).sum(1)))
        n_gradients += len(masks)
        slope = np.maximum(slope, np.max([each - whole for each in less], axis=0))
    counting = [
        at for at in order if writers[at] in inside and max(own[at] / abs(few.clean - few.empty), slope[at]) >= IDLE
    ]
    first = counting[: COMPONENTS - OUTSIDE]
    rest = sorted((at for at in order if at not in first), key=lambda at: -slope[at])

    return [writers[at] for at in [*first, *rest][:COMPONENTS]], along[0][-1], n_gradients


def spread(answer: torch.Tensor, n: int) -> torch.Tensor:
    """The places of n prompts, evenly spaced in the order of their answers: what goes other ways for other answers is there."""
    chosen = torch.linspace(0, len(answer) - 1, n).round().long().unique()
    return answer.sort(stable=True).indices[chosen].sort().values


def n_few(n_prompts: int) -> int:
    return min(n_prompts, max(SEARCH_LEAST, min(SEARCH_PROMPTS, n_prompts // 8)))


def components_of(circuit: Circuit) -> set[str]:
    return {
        name for column, name in enumerate(circuit.graph.writers) if column and bool(circuit.included[:, column].any())
    }
