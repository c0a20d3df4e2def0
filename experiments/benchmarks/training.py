"""A training step of this library against a plain PyTorch loop of the same model, interleaved.

    python -m experiments.benchmarks.training

Prints, for each size, milliseconds a step of both (median over rounds) and their ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch.nn.functional import cross_entropy

import interp
from interp.models.native import build
from interp.training import PlannedRun, planned_runs
from interp.training.fast import loss, scored
from interp.training.grow import learning_rate, make_optimizer
from interp.types import Batch

RECIPE: dict[str, Any] = {
    "name": "benchmark",
    "task": {"name": "modular_addition", "params": {"p": 53, "train_fraction": 0.8, "split": "unordered"}},
    "model": {"n_layers": 1, "n_heads": 4, "act_fn": "relu", "normalization_type": None},
    "sizes": {f"d{d}": {"d_model": d, "d_head": d // 4, "d_mlp": 4 * d} for d in (24, 48, 128)},
    "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 1, "betas": [0.9, 0.98], "warmup": 10},
    "steps": 1000,
}


def measure(rounds: int = 25) -> list[dict[str, float | str]]:
    """One row a size: `ours_ms`, `plain_ms`, `ratio`."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rows: list[dict[str, float | str]] = []
    for run in planned_runs(RECIPE):
        ours, plain = interleaved(our_step(run), plain_step(run), rounds=rounds)
        rows.append({"size": run.size, "ours_ms": ours, "plain_ms": plain, "ratio": ours / plain})
    return rows


def our_step(run: PlannedRun) -> Callable[[], None]:
    """One optimiser step as the library takes it."""
    module = build(run.model, seed=0).train()
    optimizer, batch = make_optimizer(run, module), scored(_data(run))

    def step() -> None:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(run, 100)
        optimizer.zero_grad()
        loss(module, batch).backward()
        optimizer.step()

    return step


def plain_step(run: PlannedRun) -> Callable[[], None]:
    """The step that anyone would write."""
    module, data = build(run.model, seed=0).train(), _data(run)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=1, betas=(0.9, 0.98), fused=True)
    answers = data.targets[:, -1]

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(module(data.tokens)[:, -1].double(), answers).backward()
        optimizer.step()

    return step


def _data(run: PlannedRun) -> Batch:
    return interp.task("modular_addition", **run.task["params"]).batch(None, rng=torch.Generator())


def interleaved(*calls: Callable[[], None], rounds: int) -> list[float]:
    """The median time of each call in milliseconds; the calls take turns, so that a busy machine slows all alike."""
    spent: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds + 2):
        for call, times in zip(calls, spent, strict=True):
            started = time.perf_counter()
            call()
            if turn >= 2:
                times.append(1e3 * (time.perf_counter() - started))
    return [median(times) for times in spent]


if __name__ == "__main__":
    for row in measure():
        print(f"{row['size']}: ours {row['ours_ms']:.2f} ms, plain {row['plain_ms']:.2f} ms, ratio {row['ratio']:.3f}")
