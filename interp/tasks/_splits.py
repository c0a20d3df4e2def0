"""How a skill deals its examples to training and test.

Three kinds of skill. *Enumerated*: all examples exist in a table, dealt by a mask. *Drawn with a held-out part*: too
many to list, few enough to be met twice; a hash of the example says on which side it is. *Endless*: an example is
never met twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError
from interp.seeds import derive, generator
from interp.types import Batch

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Generator, Tensor

N_SAMPLE = 1024
"""Examples in each split of a skill whose examples are drawn."""
N_LONG = 256
"""The same where each is scored at tens of positions: 256 tell a loss as well as 1024 that are scored at one, in a
quarter of the time (sequences, not positions, are independent: its error is then about a thirtieth of its spread)."""

_MIX = (-0x61C8864680B583EB, -0x40A7B892E31B1A47)


def sequences(prompt: Int[Tensor, "prompt pos"], answer: Int[Tensor, "prompt answer_len"]) -> Batch:
    """Each prompt followed by its answer: scored at the answer's tokens, whose last one is never an input."""
    tokens = torch.cat([prompt, answer[:, :-1]], dim=1)
    targets = torch.full_like(tokens, -1)
    targets[:, prompt.shape[1] - 1 :] = answer
    return Batch(tokens=tokens, targets=targets)


def select(batch: Batch, rows: Tensor) -> Batch:
    return Batch(tokens=batch.tokens[rows], targets=batch.targets[rows])


def held_out(key: Int[Tensor, "prompt part"], *, seed: int, fraction: float) -> Bool[Tensor, "prompt"]:
    """Whether each example belongs to the test part: a hash of its key below `fraction`. Another seed deals anew."""
    return _hash(key, seed) < fraction * 2**32


def share_held_out(key: Int[Tensor, "prompt part"], *, seed: int, fraction: float) -> Bool[Tensor, "prompt"]:
    """As `held_out`, where all examples are at hand: the share of different keys is exact, and no part is empty.

    Raises:
        InputError: all examples have the same key.
    """
    place = key.unique(dim=0, return_inverse=True)[1]
    n_keys = int(place.max()) + 1
    if n_keys < 2:
        raise InputError("there are too few examples to keep some for testing")
    n_test = min(max(round(fraction * n_keys), 1), n_keys - 1)
    order = torch.randperm(n_keys, generator=generator(seed, "held out"))
    return torch.isin(place, order[:n_test])


def _hash(key: Int[Tensor, "prompt part"], seed: int) -> Int[Tensor, "prompt"]:
    """32 mixed bits of a key."""
    factors = torch.tensor([derive(part, "factor") * 2 + 1 for part in range(key.shape[1])])
    mixed = (key * factors).sum(1) ^ derive(seed, "held out")
    for factor in _MIX:  # multiply and shift, so that neighbours land apart
        mixed = (mixed ^ ((mixed >> 31) & 0x1FFFFFFFF)) * factor
    return (mixed >> 32) & 0xFFFFFFFF


def fill(n: int, draw: Callable[[int], tuple[Tensor, ...]], *, what: str) -> tuple[Tensor, ...]:
    """n rows from `draw(m)`, which draws about m candidates and returns those that are fit, called until there are
    enough.

    Raises:
        InputError: a thousand calls gave too few: `what` has no fit example, or next to none.
    """
    kept, missing = list(zip(*[draw(n + n // 4 + 16)], strict=True)), 0
    for _ in range(1000):
        missing = n - sum(len(part) for part in kept[0])
        if missing <= 0:
            return tuple(torch.cat(parts)[:n] for parts in kept)
        more = draw(2 * missing + 16)
        kept = [(*parts, part) for parts, part in zip(kept, more, strict=True)]
    raise InputError(f"{what}: no example fits these parameters ({missing} of {n} could not be drawn)")


def drawn(draw: Callable[..., Batch], *, what: str, n_sample: int = N_SAMPLE) -> dict[str, Any]:
    """`splits` and `batch` of a Task whose examples come from `draw(n, rng=, seed=, split=)`.

    Each split is a sample of `n_sample` examples from the seed's own stream, "train" or "test".
    """

    def splits(seed: int) -> dict[str, Batch]:
        return {
            name: draw(n_sample, rng=generator(seed, what, name), seed=seed, split=name) for name in ("train", "test")
        }

    def batch(n: int | None, *, rng: Generator, seed: int = 0) -> Batch:
        if n is None:
            raise InputError(f"{what} has no whole training split to learn from: give a batch size")
        return draw(n, rng=rng, seed=seed, split="train")

    return {"splits": splits, "batch": batch}


def enumerated(everything: Batch, in_test: Callable[[int], Bool[Tensor, "prompt"]]) -> dict[str, Any]:
    """`splits` and `batch` of a Task whose examples are all in a table; `in_test(seed)` says which are for testing."""

    @lru_cache(maxsize=4)
    def parts(seed: int) -> tuple[Batch, Batch]:
        test = in_test(seed)
        return select(everything, ~test), select(everything, test)

    def splits(seed: int) -> dict[str, Batch]:
        return dict(zip(("train", "test"), parts(seed), strict=True))

    def batch(n: int | None, *, rng: Generator, seed: int = 0) -> Batch:
        train = parts(seed)[0]
        return train if n is None else select(train, torch.randint(len(train.tokens), (n,), generator=rng))

    return {"splits": splits, "batch": batch}
