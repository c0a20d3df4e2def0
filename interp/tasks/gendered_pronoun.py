"""Gendered pronouns: "So Mary is a really great friend, isn't" → she, and he after John.

The skill of Mathwin et al. 2023, followed over training by Tigges et al. 2024 (arXiv 2407.10827).
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
    "So {name} is a really {quality} {role} ##, isn't",
    "Well {name} was a very {quality} {role} ##, wasn't",
    "Now {name} is quite a {quality} {role} ##, isn't",
)
WOMEN = words("Mary Anna Laura Emma Sarah Kate Alice Jane Lucy Rose Grace Helen Julia Martha Claire")
MEN = words("John Tom James Robert David Michael Peter Mark Paul Simon Daniel Adam George Henry Jack")
QUALITIES = words("great good kind clever brave calm funny honest")
ROLES = words("friend cook doctor teacher singer writer driver painter neighbour leader")

TRIED: tuple[dict[str, Any], ...] = ({}, {"n_names": 2})
"""Parameters that the tests try."""


def gendered_pronoun(*, n_names: int = 20, test_fraction: float = 0.1) -> Task:
    """A name, half of them women's and half men's; the answer is "she" or "he". Names, qualities and roles are uniform.

    The corrupt prompt has a name of the other gender. n_names: an even number. test_fraction: share of the sentences
    kept for testing. Chance is 1/2.
    """
    _check.whole("gendered_pronoun", "n_names / 2", n_names / 2 if n_names % 2 else n_names // 2, low=1, high=len(MEN))
    half = n_names // 2
    vocab = vocabulary(TEMPLATES, WOMEN[:half], MEN[:half], QUALITIES, ROLES, ("she", "he"))
    qualities, roles, pronouns = ids(vocab, QUALITIES), ids(vocab, ROLES), ids(vocab, ("she", "he"))

    def sample(n: int, rng: Generator) -> tuple[Slots, Slots, Tensor, Tensor]:
        man = torch.randint(2, (n,), generator=rng)
        names = torch.randint(half, (2, n), generator=rng)
        scene = {"quality": pick(qualities, n, rng), "role": pick(roles, n, rng)}
        clean, corrupt = {**scene, "name": names[0] + half * man}, {**scene, "name": names[1] + half * (1 - man)}
        return clean, corrupt, pronouns[man], pronouns[1 - man]

    wording = Wording(
        name="gendered_pronoun",
        templates=TEMPLATES,
        vocab=vocab,
        test_fraction=test_fraction,
        sample=sample,
        needs=("name",),
    )
    return task(wording, params={"n_names": n_names, "test_fraction": test_fraction}, chance=0.5)


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    return {"he"} if words[1] in MEN else {"she"}
