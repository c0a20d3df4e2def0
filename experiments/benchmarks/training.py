"""A training step of this library against a plain loop over the native module, on the recipes that are shipped.

    python -m experiments.benchmarks.training

Prints, for each recipe, milliseconds of processor time a step of both (median over rounds, interleaved) and the ratio. The
plain loop is the one anyone would write: the whole module, its logits at the scored positions, cross-entropy, fused AdamW.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch.nn.functional import cross_entropy

import interp
from interp.models.native import build
from interp.training import PlannedRun, planned_runs
from interp.training.fast import loss, scored
from interp.training.optimizer import learning_rate, make_optimizer
from interp.types import Batch

RECIPES = Path(__file__).parents[1] / "recipes"
NAMES = ("grokking_demo", "modular_addition_p113", "addition", "induction", "markov", "window_sum", "multitask_parity")


def measure(rounds: int = 15) -> list[dict[str, float | str]]:
    """One row a recipe: `ours_ms`, `plain_ms`, `ratio` (how many times faster ours is)."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rows: list[dict[str, float | str]] = []
    for name in NAMES:
        run = planned_runs(RECIPES / f"{name}.yaml")[0]
        ours, plain = interleaved(our_step(run), plain_step(run), rounds=rounds)
        rows.append({"recipe": name, "ours_ms": ours, "plain_ms": plain, "ratio": plain / ours})
    return rows


def our_step(run: PlannedRun) -> Callable[[], None]:
    """One optimiser step as the library takes it."""
    module = build(run.model, seed=0).train()
    optimizer, batch = make_optimizer(run, module), scored(_data(run))

    def step() -> None:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(run, 100)
        optimizer.zero_grad()
        loss(module, batch, dtype=getattr(torch, run.loss_dtype)).backward()
        optimizer.step()

    return step


def plain_step(run: PlannedRun) -> Callable[[], None]:
    """The step that anyone would write."""
    module, data = build(run.model, seed=0).train(), _data(run)
    optimizer = make_optimizer(run, module)
    real, dtype = data.targets >= 0, getattr(torch, run.loss_dtype)
    answers = data.targets[real]

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(module(data.tokens)[real].to(dtype), answers).backward()
        optimizer.step()

    return step


def _data(run: PlannedRun) -> Batch:
    return interp.task(run.task["name"], **run.task["params"]).batch(run.batch, rng=torch.Generator().manual_seed(0))


def interleaved(*calls: Callable[[], None], rounds: int) -> list[float]:
    """The median processor time of each call in milliseconds; the calls take turns, so that a busy machine slows all alike."""
    spent: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds + 2):
        for call, times in zip(calls, spent, strict=True):
            started = time.process_time()
            call()
            if turn >= 2:
                times.append(1e3 * (time.process_time() - started))
    return [median(times) for times in spent]


if __name__ == "__main__":
    for row in measure():
        print(
            f"{row['recipe']}: ours {row['ours_ms']:.2f} ms, plain {row['plain_ms']:.2f} ms, {row['ratio']:.2f} x faster"
        )
