"""Modular arithmetic on all p² pairs: the sequence (a, b, =), the answer at the last position (Nanda et al. 2023,
arXiv 2301.05217).

The p² inputs are split once per seed into a training and a test part. Split by ordered pairs, as the papers do, most
test inputs (a, b) have their mirror (b, a) in the training part, so that where the operation commutes memorising alone
answers about a share `train_fraction` of the test; split by unordered pairs, a pair and its mirror are on the same side
and nothing is given away.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError
from interp.seeds import generator
from interp.tasks import _check
from interp.tasks._positions import fixed
from interp.tasks._splits import select, sequences
from interp.types import Batch, Prompts, Structure, Task

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Generator, Tensor

SPLITS = ("ordered", "unordered")


def modular_task(
    name: str, operate: Callable[[Tensor, Tensor], Tensor], *, params: dict[str, Any], shuffle_labels: bool = False
) -> Task:
    """The task of `operate(a, b) mod p`; tokens 0 … p−1 are the numbers and p is "=".

    params: p, train_fraction and, where the task offers the choice, split ("ordered" without). shuffle_labels: the
    answers are permuted over the inputs, once per seed. Chance is the share of the commonest answer.
    """
    p, split = params["p"], params.get("split", "ordered")
    item = _items(name, p=p, train_fraction=params["train_fraction"], split=split)
    n_items = int(item.max()) + 1
    index = torch.arange(p * p)
    a, b = index // p, index % p
    tokens, in_order = torch.stack([a, b, torch.full_like(a, p)], dim=1), operate(a, b) % p

    @lru_cache(maxsize=4)
    def dealt(seed: int) -> tuple[Int[Tensor, "pair"], Bool[Tensor, "pair"], Batch, Batch]:
        """The answers, whether each pair is for training, and the two parts."""
        shuffled = torch.randperm(p * p, generator=generator(seed, "shuffled labels")) if shuffle_labels else index
        chosen = torch.zeros(n_items, dtype=torch.bool)
        order = torch.randperm(n_items, generator=generator(seed, "split"))
        chosen[order[: round(params["train_fraction"] * n_items)]] = True
        answers, in_train = in_order[shuffled], chosen[item]
        everything = sequences(tokens, answers[:, None])
        return answers, in_train, select(everything, in_train), select(everything, ~in_train)

    def splits(seed: int) -> dict[str, Batch]:
        return dict(zip(("train", "test"), dealt(seed)[2:], strict=True))

    def batch(n: int | None, *, rng: Generator, seed: int = 0) -> Batch:
        train = dealt(seed)[2]
        return train if n is None else select(train, torch.randint(len(train.tokens), (n,), generator=rng))

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        answers, in_train, *_ = dealt(seed)
        clean, corrupt = _contrasts(n, (~in_train).nonzero()[:, 0], answers, p=p, rng=rng)
        return Prompts(clean=tokens[clean], corrupt=tokens[corrupt], answer=answers[clean], wrong=answers[corrupt])

    return Task(
        name=name,
        params=params,
        vocab=(*map(str, range(p)), "="),
        n_ctx=3,
        chance=float(in_order.bincount().max()) / p**2,
        prompts=prompts,
        splits=splits,
        batch=batch,
        structure=Structure(modulus=p, required=lambda tokens: fixed(tokens, [(2, (0, 1))])),
    )


def _items(name: str, *, p: Any, train_fraction: Any, split: Any) -> Int[Tensor, "pair"]:
    """What is dealt to training or test, counted from 0, for each of the p² pairs; the parameters are checked."""
    _check.whole(name, "p", p, low=2, high=2000)  # all p² pairs are in memory: 100 MB at 2000
    _check.fraction(name, "train_fraction", train_fraction)
    _check.one_of(name, "split", split, SPLITS)
    index = torch.arange(p * p)
    a, b = index // p, index % p
    pair = index if split == "ordered" else torch.minimum(a, b) * p + torch.maximum(a, b)
    item = pair.unique(return_inverse=True)[1]
    n_items = int(item.max()) + 1
    if not 0 < round(train_fraction * n_items) < n_items:
        raise InputError(
            f"{name}: train_fraction {train_fraction!r} leaves the training or the test part of the {n_items} inputs "
            "empty"
        )
    return item


def _contrasts(
    n: int, test: Int[Tensor, "test"], answers: Int[Tensor, "pair"], *, p: int, rng: Generator
) -> tuple[Int[Tensor, "prompt"], Int[Tensor, "prompt"]]:
    """Test inputs, each beside an input (of either part) that has another a, another b and another answer.

    Distinct while n is at most the number of test inputs, then as evenly repeated as can be.
    """
    rounds = [test[torch.randperm(len(test), generator=rng)] for _ in range(-(-n // len(test)))]
    clean = torch.cat(rounds)[:n] if rounds else test[:0]
    corrupt = [_counterpart(int(pair), answers, p=p, rng=rng) for pair in clean]
    return clean, torch.stack(corrupt) if corrupt else clean


def _counterpart(pair: int, answers: Int[Tensor, "pair"], *, p: int, rng: Generator) -> Int[Tensor, ""]:
    """A random input that differs in a, in b and in the answer; where there is none (p = 2), in the answer only."""
    index = torch.arange(p * p)
    other_answer = answers != answers[pair]
    differs = other_answer & (index // p != pair // p) & (index % p != pair % p)
    candidates = (differs if bool(differs.any()) else other_answer).nonzero().squeeze(1)
    return candidates[int(torch.randint(len(candidates), (), generator=rng))]
