"""Runs with a known circuit as a family of checkpoints, and their programs as tasks: for everything that takes either."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save

from interp.errors import unknown
from interp.seeds import derive
from interp.testbed.built import draw_prompts
from interp.testbed.planted import Planted
from interp.testbed.programs import PROGRAMS
from interp.testbed.spliced import Spliced
from interp.types import Batch, Prompts, Task

if TYPE_CHECKING:
    from interp.testbed.program import Program

TASK = "interp.testbed.family:program_task"
N_SAMPLE = 512  # examples of a split, and those that the chance level is estimated from


def write_family(
    run: Planted | Spliced,
    root: str | Path,
    *,
    name: str = "planted",
    size: str = "built",
    setting: str = "planted",
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
) -> Path:
    """Writes every checkpoint of the run below `root` as the store has them, and gives the run's folder.

    The truth is in the manifests: `formed_at`, `interval`, `true_edges`. The family's task is the program (`params`: its
    own arguments, if it was built with any).
    """
    folder = Path(root) / name / size / setting / f"seed{seed}"
    model = run.model
    config = (json.dumps(dict(model.config), indent=1, sort_keys=True) + "\n").encode()
    truth = {"formed_at": run.formed_at, "interval": run.interval, "true_edges": sorted(run.built.edges)}
    asked = {"name": TASK, "params": {"program": run.built.name, "params": dict(params or {})}, "split_seed": 0}
    for step, state in run.states():
        weights = save({key: tensor.contiguous() for key, tensor in state.items()}, {"format": "pt"})
        manifest = {"family": name, "size": size, "setting": setting, "seed": seed, "step": step, "tokens": None}
        manifest |= {"sha256": sha256(weights).hexdigest(), "budget": run.steps[-1], "task": asked, "truth": truth}
        manifest |= {"n_params": sum(tensor.numel() for tensor in state.values())}
        place = folder / f"step{step}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "model.safetensors").write_bytes(weights)
        (place / "config.json").write_bytes(config)
        (place / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return folder


def program_task(*, program: str, params: Mapping[str, Any] | None = None) -> Task:
    """The task whose right answers a program gives; its clean and corrupt prompts are those of `Built.prompts`."""
    if program not in PROGRAMS:
        raise unknown("program", program, PROGRAMS)
    made = PROGRAMS[program](**(params or {}))

    def prompts(n: int, *, rng: torch.Generator, seed: int = 0) -> Prompts:
        return draw_prompts(made, n, rng=rng)

    def batch(n: int | None, *, rng: torch.Generator, seed: int = 0) -> Batch:
        return _examples(made, N_SAMPLE if n is None else n, rng)

    def splits(seed: int) -> dict[str, Batch]:
        names = ("train", "test")
        return {each: batch(N_SAMPLE, rng=torch.Generator().manual_seed(derive(seed, each))) for each in names}

    answers = splits(0)["test"].targets
    counts = Counter(answers[answers >= 0].tolist())
    return Task(
        name="program_task",
        params={"program": program, "params": dict(params or {})},
        vocab=made.vocab,
        n_ctx=made.n_ctx,
        chance=max(counts.values()) / N_SAMPLE,
        prompts=prompts,
        splits=splits,
        batch=batch,
    )


def _examples(program: Program, n: int, rng: torch.Generator) -> Batch:
    draws = np.random.default_rng(int(torch.randint(2**62, (1,), generator=rng)))
    rows = [program.draw(draws) for _ in range(n)]
    tokens = torch.tensor([row for row, _ in rows])
    targets = torch.full_like(tokens, -1)
    for i, (row, position) in enumerate(rows):
        targets[i, position] = program.solve(row[: position + 1])
    return Batch(tokens=tokens, targets=targets)
