"""Subject-verb agreement across other nouns: "The keys near the cabinet" → are, "The key near the cabinets" → is.

Linzen et al. 2016 (arXiv 1611.01368); followed over training by Tigges et al. 2024 (arXiv 2407.10827).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError
from interp.tasks import _check
from interp.tasks._language import Slots, Wording, ids, pick, task, vocabulary, words
from interp.types import Structure, Task

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Generator, Tensor

SINGULAR = words("key book dog cat tree car house boat table lamp bird horse flower letter picture chair")
PLURAL = tuple(f"{noun}s" for noun in SINGULAR)
PREPOSITIONS = words("near behind beside above below under")

TRIED: tuple[dict[str, Any], ...] = ({}, {"n_attractors": 2, "same_noun": False})
"""Parameters that the tests try."""


def subject_verb_agreement(*, n_attractors: int = 1, same_noun: bool = True, test_fraction: float = 0.1) -> Task:
    """A subject, then n_attractors times a preposition and a noun of its own number; the answer is "is" or "are".

    The corrupt prompt has the same subject in the other number or, unless `same_noun`, any subject in the other
    number: under tokenizers that write plurals with one token more, only those pairs have equal lengths.
    structure.groups(tokens): {"n_against": how many of the other nouns have the other number than the subject}.
    test_fraction: share of the sentences kept for testing. Chance is 1/2.
    """
    _check.whole("subject_verb_agreement", "n_attractors", n_attractors, low=0, high=3)
    if not isinstance(same_noun, bool):
        raise InputError(f"subject_verb_agreement: same_noun is true or false, not {same_noun!r}")
    phrases = "".join(f" {{preposition{i}}} the {{noun{i}}}" for i in range(n_attractors))
    templates = (f"The {{subject}}{phrases}",)
    vocab = vocabulary(templates, SINGULAR, PLURAL, PREPOSITIONS, ("is", "are"))
    nouns, prepositions, verbs = ids(vocab, SINGULAR + PLURAL), ids(vocab, PREPOSITIONS), ids(vocab, ("is", "are"))

    def sample(n: int, rng: Generator) -> tuple[Slots, Slots, Tensor, Tensor]:
        plural = torch.randint(2, (n,), generator=rng)
        subject = torch.randint(len(SINGULAR), (n,), generator=rng)
        scene: dict[str, Tensor] = {}
        for i in range(n_attractors):
            scene |= {f"preposition{i}": pick(prepositions, n, rng), f"noun{i}": pick(nouns, n, rng)}
        clean = {**scene, "subject": subject + len(SINGULAR) * plural}
        other = subject if same_noun else torch.randint(len(SINGULAR), (n,), generator=rng)
        corrupt = {**scene, "subject": other + len(SINGULAR) * (1 - plural)}
        return clean, corrupt, verbs[plural], verbs[1 - plural]

    def groups(tokens: Int[Tensor, "prompt pos"]) -> dict[str, Int[Tensor, "prompt"]]:
        plural = tokens[:, 1::3] >= len(SINGULAR)
        return {"n_against": (plural != plural[:, :1]).sum(1)}

    wording = Wording(
        name="subject_verb_agreement",
        templates=templates,
        vocab=vocab,
        test_fraction=test_fraction,
        sample=sample,
        needs=("subject",),
    )
    params = {"n_attractors": n_attractors, "same_noun": same_noun, "test_fraction": test_fraction}
    return task(wording, params=params, chance=0.5, structure=Structure(groups=groups))


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    return {"are"} if words[1].endswith("s") else {"is"}
