"""Minimality that identical components cannot fool.

score(e) = max over K of |f(C∖K) − f(C∖K∖e)|, K being nothing, each single other edge of the circuit, and for each group of
components that stand in for each other or cancel, the edges of its members other than e's own. Nothing is drawn: what is
symmetric in the circuit gets equal scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Bool

from interp.circuits._circuit import Circuit
from interp.circuits._graph import edge_names
from interp.circuits.validation._effects import Ground

EXACT_EDGES = 11
"""Up to this many edges every pair of them is run on all prompts. Beyond, the K that counts for each edge is chosen on a few
prompts among all single other edges, and what it gives is measured on all."""
MOST_EDGES = 64
"""Beyond this many no pairs are run (they would be 2,000), only the groups; `n_subsets` says so."""
Places = Sequence[tuple[int, int]]


def minimality(
    here: Ground, few: Ground, circuit: Circuit, groups: Sequence[tuple[str, ...]]
) -> tuple[dict[str, float], float]:
    """Edge -> score, and what it cost in runs over the prompts of `here`. few: the same question on a few prompts.
    `circuit` has live edges only."""
    places = [(row, column) for row, column in circuit.included.nonzero().tolist()]
    tried: list[tuple[int, Places]] = [
        (e, k) for e in range(len(places)) for k in _other_members(circuit, places, e, groups)
    ]
    tried += [(e, []) for e in range(len(places))]
    pairs: list[tuple[int, Places]] = [(e, [k]) for e, own in enumerate(places) for k in places if k != own]
    cost = 0.0
    if len(places) <= EXACT_EDGES:
        tried += pairs
    elif len(places) <= MOST_EDGES:
        screened, n_masks = _differences(few, circuit, places, pairs)
        best: dict[int, int] = {}
        for at, (e, _) in enumerate(pairs):
            best[e] = at if e not in best or screened[at] > screened[best[e]] else best[e]
        tried += [pairs[at] for at in best.values()]
        cost += n_masks * few.pair.n_prompts / here.pair.n_prompts
    found, n_masks = _differences(here, circuit, places, tried)
    scores = np.zeros(len(places))
    for (e, _), difference in zip(tried, found, strict=True):
        scores[e] = max(scores[e], difference)
    names = edge_names(circuit.graph, circuit.included)
    return dict(zip(names, scores.tolist(), strict=True)), cost + n_masks


def _differences(
    here: Ground, circuit: Circuit, places: Places, tried: Sequence[tuple[int, Places]]
) -> tuple[list[float], int]:
    """|f(C∖K) − f(C∖K∖e)| for every (e, K), no circuit run twice; and how many ran."""
    without = {frozenset(k) for _, k in tried} | {frozenset([*k, places[e]]) for e, k in tried}
    order = sorted(without, key=sorted)
    f = dict(zip(order, here.f(_less(circuit.included, cut) for cut in order), strict=True))
    return [float(abs(f[frozenset(k)] - f[frozenset([*k, places[e]])])) for e, k in tried], len(order)


def _other_members(
    circuit: Circuit, places: Sequence[tuple[int, int]], e: int, groups: Sequence[tuple[str, ...]]
) -> list[list[tuple[int, int]]]:
    """By group, the edges into and out of its members, without the members that e itself belongs to."""
    found = []
    own = _members(circuit, places[e])
    for group in groups:
        others = set(group) - own
        edges = [place for place in places if _members(circuit, place) & others and not _members(circuit, place) & own]
        if edges:
            found.append(edges)
    return found


def _members(circuit: Circuit, place: tuple[int, int]) -> set[str]:
    """The components at the ends of an edge (the embedding and the logits are none)."""
    row, column = place
    writers = circuit.graph.writers
    read_by = {writers[c] for c in range(1, len(writers)) if row in circuit.graph.rows_into(c)}
    return read_by | ({writers[column]} if column else set())


def _less(
    mask: Bool[torch.Tensor, "reader writer"], places: Iterable[tuple[int, int]]
) -> Bool[torch.Tensor, "reader writer"]:
    left = mask.clone()
    for row, column in places:
        left[row, column] = False
    return left
