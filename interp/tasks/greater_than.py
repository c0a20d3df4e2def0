"""Greater-than: "The war lasted from the year 1732 to the year 17" → any later year of the century.

Hanna et al. 2023 (arXiv 2305.00586).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks._language import Slots, Wording, ids, pick, task, vocabulary, words
from interp.types import Structure, Task

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Generator, Tensor

TEMPLATES = (
    "The {event} lasted from the year {century} {year} to the year {again}",
    "The {event} went on from year {century} {year} until the year {again}",
)
EVENTS = words("war siege reign voyage dispute expedition alliance famine project crisis journey trial")
CENTURIES = tuple(f"{century}" for century in range(11, 18))
YEARS = tuple(f"##{year:02d}" for year in range(100))
FIRST, LAST = 2, 98
"""Years that a prompt may begin with: at least one earlier and one later year remain beside the corrupt prompt's."""

TRIED: tuple[dict[str, Any], ...] = ({},)
"""Parameters that the tests try."""


def greater_than(*, test_fraction: float = 0.1) -> Task:
    """A year from XX02 to XX98; the answer is a later year of the century (two digits), uniform over those there are.

    The corrupt prompt begins with the year XX01, as in the paper: then `wrong`, uniform over 02 … the clean year, is
        right too.
    Every later year is as good: `structure.valid(tokens)`, Bool[prompt, vocab], serves the paper's measure, the
    probability of all valid years minus that of all others. A perfect model that answers with its likeliest year
    matches `answer` by chance only.
    test_fraction: share of the sentences kept for testing. Chance is H(97) / 97 = .053, that of always saying 99.
    """
    vocab = vocabulary(TEMPLATES, YEARS, CENTURIES, EVENTS)
    centuries, events = ids(vocab, CENTURIES), ids(vocab, EVENTS)

    def sample(n: int, rng: Generator) -> tuple[Slots, Slots, Tensor, Tensor]:
        year = torch.randint(FIRST, LAST + 1, (n,), generator=rng)
        uniform = torch.rand(2, n, generator=rng, dtype=torch.float64)
        later = year + 1 + (uniform[0] * (99 - year)).long()
        earlier = FIRST + (uniform[1] * (year - FIRST + 1)).long()
        century = pick(centuries, n, rng)
        scene = {"event": pick(events, n, rng), "century": century, "again": century}
        return {**scene, "year": year}, {**scene, "year": torch.full_like(year, FIRST - 1)}, later, earlier

    def valid(tokens: Int[Tensor, "prompt pos"]) -> Bool[Tensor, "prompt vocab"]:
        year = tokens[:, places["year"], None]
        candidate = torch.arange(len(vocab))
        return (candidate > year) & (candidate < len(YEARS))

    wording = Wording(
        name="greater_than",
        templates=TEMPLATES,
        vocab=vocab,
        test_fraction=test_fraction,
        sample=sample,
        needs=("year",),
    )
    n_years = LAST - FIRST + 1
    chance = sum(1 / later for later in range(1, n_years + 1)) / n_years
    made = task(wording, params={"test_fraction": test_fraction}, chance=chance, structure=Structure(valid=valid))
    places = made.structure.positions
    return made


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    year = next(int(word[2:]) for word in words if word[:2] == "##" and word[2:].isdigit())
    return {f"##{later:02d}" for later in range(year + 1, 100)}
