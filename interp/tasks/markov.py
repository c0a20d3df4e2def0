"""In-context Markov chains: every sequence comes from a fresh chain, to be inferred from the sequence itself.

Edelman et al. 2024 (arXiv 2402.11004). Rows of the transition matrix are Dirichlet(alpha); the first state is uniform
and says nothing about the chain (the paper draws it from the stationary distribution), so that the bigram reference
is exactly Bayes-optimal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import one_hot

from interp.tasks import _check
from interp.tasks._positions import after_earlier_occurrences
from interp.tasks._splits import N_LONG, drawn, fill
from interp.types import Batch, Prompts, Structure, Task

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Generator, Tensor


TRIED: tuple[dict[str, Any], ...] = ({"length": 30}, {"n_states": 5, "length": 20, "alpha": 0.3})
"""Parameters that the tests try."""
DRAWN = True
"""Training targets are drawn, not settled."""


def markov(*, n_states: int = 3, length: int = 100, alpha: float = 1.0) -> Task:
    """Sequences of `length` states; every position predicts the next state.

    Prompts: the answer is the most probable next state under the bigram reference, where it is unique. The corrupt
    prompt has another last state, with another answer: state frequencies are as good as equal, and only a bigram
    predictor tells them apart.

    structure.references(tokens) gives the "uniform", "unigram" and "bigram" predictions, Float[prompt, pos, vocab]
    each.
    """
    _check.whole("markov", "n_states", n_states, low=2)
    _check.whole("markov", "length", length, low=4)
    _check.positive("markov", "alpha", alpha)

    def draw(n: int, *, rng: Generator, seed: int, split: str) -> Batch:
        states = _chains(n, length + 1, n_states=n_states, alpha=alpha, rng=rng)
        return Batch(tokens=states[:, :-1].contiguous(), targets=states[:, 1:].contiguous())

    def pairs(n: int, rng: Generator) -> tuple[Tensor, ...]:
        clean = _chains(n, length, n_states=n_states, alpha=alpha, rng=rng)
        likely, unique = _likely_next(clean, n_states)
        last = clean[:, -1:]
        other = unique & (likely != likely.gather(1, last))
        other = other.scatter(1, last, False)
        choice = torch.rand(n, n_states, generator=rng).where(other, -1.0).argmax(1, keepdim=True)
        corrupt = torch.cat([clean[:, :-1], choice], dim=1)
        fit = unique.gather(1, last).squeeze(1) & other.any(1)
        columns = (clean, corrupt, likely.gather(1, last).squeeze(1), likely.gather(1, choice).squeeze(1))
        return tuple(column[fit] for column in columns)

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        clean, corrupt, answer, wrong = fill(n, lambda m: pairs(m, rng), what="markov")
        return Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=wrong)

    return Task(
        name="markov",
        params={"n_states": n_states, "length": length, "alpha": alpha},
        vocab=tuple(f"s{state}" for state in range(n_states)),
        n_ctx=length,
        chance=1 / n_states,
        prompts=prompts,
        **drawn(draw, what="markov", n_sample=N_LONG),
        structure=Structure(
            references=partial(references, n_states=n_states, alpha=alpha),
            required=after_earlier_occurrences,
            any_tokens=True,
        ),
    )


def references(
    tokens: Int[Tensor, "prompt pos"], *, n_states: int, alpha: float
) -> dict[str, Float[Tensor, "prompt pos vocab"]]:
    """Predictions of the next state at every position, from the states up to it.

    uniform: 1/V. unigram: (count of k so far + alpha) / (t + V·alpha), Bayes-optimal if states were independent.
    bigram: (count of transitions from the present state to k + alpha) / (count of transitions from it + V·alpha),
        Bayes-optimal.
    """
    states = one_hot(tokens, n_states).float()
    following = states.roll(-1, dims=1)
    seen = (tokens[:, :, None] == tokens[:, None, :]).tril(-1).float()
    counts = {"unigram": states.cumsum(1), "bigram": seen @ following}
    predictions = {
        name: (count + alpha) / (count.sum(-1, keepdim=True) + n_states * alpha) for name, count in counts.items()
    }
    return {"uniform": torch.full_like(states, 1 / n_states), **predictions}


def _chains(n: int, length: int, *, n_states: int, alpha: float, rng: Generator) -> Int[Tensor, "prompt pos"]:
    """One path of each of n fresh chains.

    A uniform number per step turns each chain into a random map from state to next state; the path is the composition
    of the maps, for all times at once by doubling: log₂(length) gathers instead of `length` steps.
    """
    weights = torch._standard_gamma(torch.full((n, 1, n_states, n_states), float(alpha)), generator=rng)
    cumulative = weights.cumsum(-1) / weights.sum(-1, keepdim=True)
    uniform = torch.rand(n, length - 1, 1, 1, generator=rng)
    maps = (uniform >= cumulative[..., :-1]).sum(-1)
    span = 1
    while span < length - 1:
        maps = torch.cat([maps[:, :span], maps[:, span:].gather(2, maps[:, :-span])], dim=1)
        span *= 2
    first = torch.randint(n_states, (n, 1), generator=rng)
    rest = maps.gather(2, first[:, None, :].expand(-1, length - 1, 1)).squeeze(2)
    return torch.cat([first, rest], dim=1)


def _likely_next(
    tokens: Int[Tensor, "prompt pos"], n_states: int
) -> tuple[Int[Tensor, "prompt state"], Bool[Tensor, "prompt state"]]:
    """For each state that the last token could be: the successor counted most often before it, and whether it is
    unique."""
    states = one_hot(tokens, n_states)
    counts = states[:, :-2].transpose(1, 2) @ states[:, 1:-1]  # transitions that do not involve the last token
    into_last = torch.diag_embed(states[:, -2])  # the transition into the last token, if that were the token before it
    best = (counts + into_last).topk(2, dim=-1)
    return best.indices[..., 0], best.values[..., 0] > best.values[..., 1]


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the word that followed these most often; none where that is not settled."""
    counts = Counter(b for a, b in pairwise(words) if a == words[-1])
    likely = {word for word in counts if counts[word] == max(counts.values())}
    return likely if len(likely) == 1 else set()
