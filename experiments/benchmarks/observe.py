"""What sharing passes saves: all indicators from one observation, against each from an observation of its own.

    python experiments/benchmarks/observe.py [--repeats 5] [--all]

One thread, the two ways interleaved, best of several. By default the indicators that run no passes of their own
(`--all`: every one, with default parameters). The last columns compare the shared passes alone with plain forward
passes over the same tokens.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import torch

import interp
from interp import plugins, seeds
from interp.measure.observe import measure, needs_of, observe
from interp.models import Model, build, wrap
from interp.types import Task

CASES = {
    "modular_addition p=59, 1 layer, d 32": ("modular_addition", {"p": 59}, {"d_model": 32, "n_layers": 1}),
    "induction, 2 layers attention-only, d 48": ("induction", {}, {"d_model": 48, "n_layers": 2, "attn_only": True}),
    "addition 2 digits, 2 layers, d 64": ("addition", {"n_digits": 2}, {"d_model": 64, "n_layers": 2}),
}


def main() -> None:
    """Print one line a case."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--all", action="store_true")
    given = options.parse_args()
    torch.set_num_threads(1)
    names = [name for name in plugins.names("indicators") if given.all or not runs_passes(name)]
    print(f"{len(names)} indicators, 256 prompts; milliseconds, best of {given.repeats}")
    columns = ("one by one", "shared", "ratio", "passes only", "forward", "passes/forward")
    print(" " * 42 + "".join(f"{column:>15}" for column in columns))
    for label, (name, params, shape) in CASES.items():
        task = interp.task(name, **params)
        alone, shared, passes, forward = timed(model_for(task, shape), task, names, given.repeats)
        figures = (alone, shared, alone / shared, passes, forward, passes / forward)
        print(f"{label:42}" + "".join(f"{figure:15.1f}" for figure in figures[:5]) + f"{figures[5]:15.2f}")


def runs_passes(name: str) -> bool:
    """Whether an indicator runs passes of its own."""
    return hasattr(plugins.module("indicators", name), "COST")


def model_for(task: Task, shape: dict[str, int]) -> Model:
    """A native model with random weights."""
    d_model = shape["d_model"]
    config = {
        "architecture": "native", "n_heads": 4, "d_head": d_model // 4, "d_mlp": 4 * d_model, "n_ctx": task.n_ctx,
        "d_vocab": len(task.vocab), "d_vocab_out": len(task.vocab), "act_fn": "relu", "normalization_type": None,
        **shape,
    }  # fmt: skip
    return wrap(build(config, seed=0), config=config)


def timed(model: Model, task: Task, names: Sequence[str], repeats: int) -> tuple[float, float, float, float]:
    """Milliseconds of measuring one by one, from one observation, of the shared passes alone, and of plain ones."""
    prompts, splits = task.prompts(256, rng=seeds.generator(0)), task.splits(0)

    def look(measures: Sequence[str]) -> None:
        measure(observe(model, task, prompts, splits, needs_of(measures), seeds.generator(0)), measures)

    def one_by_one() -> None:
        for name in names:
            look([name])

    def plain() -> None:
        with torch.no_grad():
            for tokens in (prompts.clean, splits["train"].tokens, splits["test"].tokens):
                model(tokens)

    ways: list[Callable[[], object]] = [
        one_by_one,
        lambda: look(names),
        lambda: observe(model, task, prompts, splits, needs_of(names), seeds.generator(0)),
        plain,
    ]
    best = [float("inf")] * len(ways)
    for _ in range(repeats):
        for index, way in enumerate(ways):
            started = time.perf_counter()
            way()
            best[index] = min(best[index], 1e3 * (time.perf_counter() - started))
    return best[0], best[1], best[2], best[3]


if __name__ == "__main__":
    main()
