"""Minimality that identical components cannot fool.

score(e) = max over K of |f(C∖K) − f(C∖K∖e)|, K being nothing, each single other edge of the circuit, and for each group of
components that stand in for each other or cancel, the edges of its members other than e's own. Nothing is drawn: what is
symmetric in the circuit gets equal scores. Which K counts is found on a few prompts, what it gives is measured on all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Bool

from interp.circuits._circuit import Circuit
from interp.circuits._graph import edge_names
from interp.circuits.validation._effects import Ground, gradients

SCREEN = 1.0
"""Runs of all prompts, for each edge, that the search for K may cost: with two on all prompts this makes three. All single
other edges are tried where that is enough, else the NEAREST whose gradient changes most when e is taken out."""
NEAREST = 2
TELLING = 0.01  # share of the behaviour by which one K has to show more than another that costs less
SHARES = (0.5, 1.0)  # of all other edges that are kept where gradients are taken: half-way, what is saturated shows
Places = Sequence[tuple[int, int]]


def minimality(
    here: Ground, few: Ground, circuit: Circuit, groups: Sequence[tuple[str, ...]]
) -> tuple[dict[str, float], int, float]:
    """Edge -> score, how many K each has at most, and the cost in runs over the prompts of `here`. few: the same question on a
    few prompts. `circuit` has live edges only."""
    places = [(row, column) for row, column in circuit.included.nonzero().tolist()]
    share = few.pair.n_prompts / here.pair.n_prompts
    alone: list[tuple[int, Places]] = [(e, []) for e in range(len(places))]
    together = [(e, k) for e in range(len(places)) for k in _other_members(circuit, places, e, groups)]
    cost = 0.0
    if share * ((len(places) - 1) / 2 + len(groups)) <= SCREEN:
        others = [[k for k in places if k != own] for own in places]
    else:
        others, n_gradients = _nearest(few, circuit, places)
        cost += 3 * share * n_gradients
    tried = [*alone, *((e, [k]) for e, near in enumerate(others) for k in near), *together]
    screened, n_masks = _differences(few, circuit, places, tried)
    best = list(range(len(places)))  # nothing, unless another K shows more: that is what costs least
    for at, (e, _) in enumerate(tried):
        best[e] = at if screened[at] > screened[best[e]] + TELLING else best[e]
    cost += share * n_masks
    chosen = [*alone, *(tried[at] for at in best if at >= len(places))]
    found, n_masks = _differences(here, circuit, places, chosen)
    scores = np.zeros(len(places))
    for (e, _), difference in zip(chosen, found, strict=True):
        scores[e] = max(scores[e], difference)
    names = edge_names(circuit.graph, circuit.included)
    n_subsets = 1 + len(groups) + max(map(len, others), default=0)
    return dict(zip(names, scores.tolist(), strict=True)), n_subsets, cost + n_masks


def _nearest(few: Ground, circuit: Circuit, places: Places) -> tuple[list[list[tuple[int, int]]], int]:
    """For every edge the NEAREST others, by how much their gradient changes when it is taken out (none where the metric has no
    gradient), and how many gradients that took."""
    cuts: list[Places] = [[], *([place] for place in places)]
    masks = torch.stack([share * _less(circuit.included, cut).float() for cut in cuts for share in SHARES])
    rows, columns = (list(each) for each in zip(*places, strict=True))
    slopes = gradients(few, masks)[:, rows, columns].reshape(len(cuts), len(SHARES), len(places))
    changed = np.abs(slopes[1:] - slopes[:1]).max(1)
    np.fill_diagonal(changed, -1.0)
    if bool(np.isnan(changed).any()):
        return [[] for _ in places], len(masks)
    order = np.argsort(-changed, axis=1, kind="stable")[:, :NEAREST]
    return [[places[k] for k in near if k != e] for e, near in enumerate(order)], len(masks)


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
