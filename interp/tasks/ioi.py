"""Indirect object identification: "When Mary and John went to the store, John gave a drink to" → Mary.

Wang et al. 2022 (arXiv 2211.00593).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks import _check
from interp.tasks._language import Slots, Wording, ids, pick, task, vocabulary, words
from interp.types import Task

if TYPE_CHECKING:
    from torch import Generator, Tensor

TEMPLATES = (
    "When {first} and {second} went to the {place} ##, {giver} gave a {object} to",
    "After {first} and {second} came to the {place} ##, {giver} handed a {object} to",
    "While {first} and {second} walked to the {place} ##, {giver} passed a {object} to",
    "Once {first} and {second} got to the {place} ##, {giver} offered a {object} to",
)
NAMES = words(
    "Mary John Tom Anna James Laura Robert Emma David Sarah Michael Kate Peter Alice Mark Jane Paul Lucy Simon Rose "
    "Daniel Grace Adam Helen George Julia Henry Martha Jack Claire"
)
PLACES = words("store park school garden house station office river")
OBJECTS = words("drink book ring ball key letter flower gift")

TRIED: tuple[dict[str, Any], ...] = ({}, {"n_names": 2})
"""Parameters that the tests try."""


def ioi(*, n_names: int = 20, test_fraction: float = 0.1) -> Task:
    """Two different names, one of which gives; the answer is the other. Names, order, places and objects are uniform.

    The corrupt prompt has the other name as the giver, so that one token differs and the right answer is exchanged.
    As text, the same sentences. test_fraction: share of the sentences kept for testing. Chance is 1 / n_names.
    """
    _check.whole("ioi", "n_names", n_names, low=2, high=len(NAMES))
    vocab = vocabulary(TEMPLATES, NAMES[:n_names], PLACES, OBJECTS)
    places, objects = ids(vocab, PLACES), ids(vocab, OBJECTS)

    def sample(n: int, rng: Generator) -> tuple[Slots, Slots, Tensor, Tensor]:
        first = torch.randint(n_names, (n,), generator=rng)
        second = (first + torch.randint(1, n_names, (n,), generator=rng)) % n_names
        first_gives = torch.randint(2, (n,), generator=rng).bool()
        giver, receiver = torch.where(first_gives, first, second), torch.where(first_gives, second, first)
        scene = {"first": first, "second": second, "place": pick(places, n, rng), "object": pick(objects, n, rng)}
        return {**scene, "giver": giver}, {**scene, "giver": receiver}, receiver, giver

    wording = Wording(
        name="ioi",
        templates=TEMPLATES,
        vocab=vocab,
        test_fraction=test_fraction,
        sample=sample,
        needs=("first", "second", "giver"),
    )
    return task(wording, params={"n_names": n_names, "test_fraction": test_fraction}, chance=1 / n_names)


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    giver = words[words.index("##,") + 1]
    return {words[1], words[3]} - {giver}
