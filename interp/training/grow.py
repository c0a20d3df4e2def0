"""One run, from its first step or the last stored one to its planned end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock
from torch import Generator, Tensor

from interp.errors import InputError
from interp.families.planned import PlannedRun
from interp.models import native
from interp.seeds import derive
from interp.tasks import task
from interp.training.checkpoint import (
    missing_steps,
    refuse_other_recipe,
    restore,
    resume_point,
    set_aside_damaged,
    write_checkpoint,
)
from interp.training.fast import Scored, loss, scored
from interp.training.interventions import Interventions
from interp.training.optimizer import learning_rate, make_optimizer

STREAMS = ("init", "split", "data")


def grow(run: PlannedRun, root: str | Path = "checkpoints") -> None:
    """Trains `run` and stores its scheduled steps under `root`; a run that is complete there is left as it is.

    The bits depend on the run alone: one torch thread, denormals flushed, every random stream derived from the run's
    seed. A second process on the same run waits for the first.

    Raises:
        InputError: the run's folder holds checkpoints of another recipe; the loss is no longer a finite number.
    """
    root = Path(root)
    with _alone(run.folder(root)), _one_exact_thread():
        set_aside_damaged(root, run)
        refuse_other_recipe(root, run)
        if missing_steps(root, run):
            _train(run, root)


def _train(run: PlannedRun, root: Path) -> None:
    seeds = {stream: derive(run.seed, stream) for stream in STREAMS}
    skill = task(run.task["name"], **run.task["params"])
    module = native.build(run.model, seed=seeds["init"]).train()
    optimizer = make_optimizer(run, module)
    data_rng = Generator().manual_seed(seeds["data"])

    step, tokens, state = 0, 0, dict[str, Tensor]()
    found = resume_point(root, run)
    if found:
        step, tokens, weights, state = found
        module.load_state_dict(weights)
        restore(state, optimizer, data_rng)
    under = Interventions(run, module, state)

    def store() -> None:
        write_checkpoint(
            root, run, step=step, tokens=tokens, module=module, optimizer=optimizer, data_rng=data_rng, seeds=seeds,
            memory=under.memory,
        )  # fmt: skip

    causal = str(run.model.get("attention_dir", "causal")) == "causal"

    def draw(n: int | None) -> Scored:
        return scored(skill.batch(n, rng=data_rng, seed=seeds["split"]), causal=causal)

    everything = draw(None) if run.batch is None else None
    if not found:
        store()
    stored = set(run.schedule)
    while step < run.steps:
        batch = everything or draw(run.batch)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(run, step)
        under.move(step)
        value = loss(module, batch, dtype=getattr(torch, run.loss_dtype), edits=under.edits, scale=under.scale)
        optimizer.zero_grad()
        value.backward()
        then = under.before_update(step)
        optimizer.step()
        for act in then:
            act()
        step, tokens = step + 1, tokens + batch.n_tokens
        if step in stored:
            if not torch.isfinite(value):
                raise InputError(
                    f"{run.name}: the training loss is {value.item()} at step {step}; lower the learning rate"
                )
            store()


@contextmanager
def _one_exact_thread() -> Iterator[None]:
    """One torch thread, and denormals flushed: near zero loss they slow every step several-fold."""
    threads = torch.get_num_threads()
    flushes = bool((torch.tensor(1e-40) * 1.0) == 0)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushes)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the system drops it when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        yield
