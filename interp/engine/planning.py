"""What an experiment would need, before anything runs: checkpoints, downloads, disk, memory, FLOPs and time.

FLOPs: 6 a parameter and token for training (Kaplan et al. 2020, arXiv 2001.08361), 2 for a forward pass. What the
measures cost in forward passes is measured, not guessed: they run once on a very small model with the same tasks.
Texts for a hub's model are counted as BYTES_PER_TOKEN bytes a token, since no tokenizer is at hand.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.engine.config import Experiment, FamilySpec, TaskSpec
from interp.engine.units import choose_steps, task_of
from interp.errors import unknown
from interp.families.read import source_kind
from interp.types import CheckpointRef, Task

if TYPE_CHECKING:
    from interp.training import PlannedRun

UTILISATION = 0.3
"""Share of a GPU's peak that transformer inference and training are taken to reach."""

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}
HUB_BYTES = 2
"""Bytes a parameter of weights on the hub: the listed families store half precision; twice that where they do not."""


BYTES_PER_TOKEN = 4
"""Of English text under the tokenizers of the listed families."""


N_TRIED = 8
"""How many questions of a text task are asked to see what a question costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """Memory in GB, and peak dense TFLOP/s in half and in single precision, from the vendor's data sheets."""

    memory: float
    half: float
    single: float


GPUS = {
    "t4": Gpu(memory=16, half=65, single=8.1),
    "v100": Gpu(memory=32, half=125, single=15.7),
    "l4": Gpu(memory=24, half=121, single=30.3),
    "a100": Gpu(memory=80, half=312, single=19.5),
    "h100": Gpu(memory=80, half=989, single=67),
    "h200": Gpu(memory=141, half=989, single=67),
}


def plan(experiment: Experiment, *, root: str | Path | None = None, gpu: str | None = None) -> dict[str, Any]:
    """The needs of an experiment as plain data; sizes in GB (1e9 bytes), times in hours.

    Nothing is trained or fetched. gpu: plan the time for this GPU too.

    Raises:
        InputError: an unknown GPU, family, task or measure.
    """
    if gpu is not None and gpu.lower() not in GPUS:
        raise unknown("GPU", gpu, GPUS)
    families = [_family_needs(spec, experiment, root) for spec in experiment.families]
    total = {key: sum(entry[key] for entry in families) for key in _SUMMED}
    if experiment.disk_budget_gb is not None:
        total["disk_gb"] = (
            min(total["download_gb"], experiment.disk_budget_gb) + total["disk_gb"] - total["download_gb"]
        )
    flops = total["training_flops"] + total["measuring_flops"]
    memory = max((entry["memory_gb"] for entry in families), default=0.0)
    here = measured_flops_per_second() * (os.cpu_count() or 1)
    found: dict[str, Any] = {
        "experiment": experiment.name,
        **total,
        "memory_gb": memory,
        "this_machine": {"gflops_per_second": here / 1e9, "hours": flops / here / 3600},
        "families": families,
    }
    if gpu is not None:
        card = GPUS[gpu.lower()]
        rate = UTILISATION * 1e12 * (card.single if experiment.dtype == "float32" else card.half)
        fits = memory <= card.memory
        found[gpu.lower()] = {"hours": flops / rate / 3600, "fits_in_memory": fits, "utilisation": UTILISATION}
    return found


_SUMMED = (
    "runs",
    "checkpoints",
    "to_train",
    "to_download",
    "download_gb",
    "disk_gb",
    "training_flops",
    "measuring_flops",
)


def measured_flops_per_second(size: int = 512, seconds: float = 0.2) -> float:
    """Floating-point operations a second of one thread here, on float32 matrix products."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    a = torch.ones(size, size)
    a @ a
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        a @ a
        count += 1
    rate = 2 * size**3 * count / (time.perf_counter() - started)
    torch.set_num_threads(threads)
    return rate


def _family_needs(spec: FamilySpec, experiment: Experiment, root: str | Path | None) -> dict[str, Any]:
    """Counts and amounts of one entry of `families`."""
    name, planned = _planned(spec, root)
    refs = [ref for stored in _by_run(planned) for ref in _chosen(stored, spec)]
    fetch = [ref for ref in refs if ref.path is None and "source" in ref.manifest]
    stored_bytes = DTYPE_BYTES["float32"]
    n_params = [_n_params(ref) for ref in refs]
    needs: dict[str, TaskNeeds] = {}  # by the task as a run was trained on it
    measuring = 0.0
    for ref, count in zip(refs, n_params, strict=True):
        for task in experiment.tasks:
            described = _described(task, ref)
            if described not in needs:
                needs[described] = _task_needs(experiment, task, ref)
            measuring += 2 * count * needs[described].tokens * needs[described].passes
    train = _to_train(spec, root)
    return {
        "family": name,
        "runs": len(_by_run(planned)),
        "checkpoints": len(refs),
        "to_train": len(train),
        "to_download": len(fetch),
        "download_gb": sum(_n_params(ref) for ref in fetch) * HUB_BYTES / 1e9,
        "disk_gb": (
            sum(_n_params(ref) for ref in fetch) * HUB_BYTES
            + sum(_run_params(run) * stored_bytes * len(run.schedule) for run in train)
        )
        / 1e9,
        "memory_gb": 2 * max(n_params, default=0) * DTYPE_BYTES.get(experiment.dtype, 4) / 1e9,
        "training_flops": float(sum(6 * _run_params(run) * _run_tokens(run) for run in train)),
        "measuring_flops": measuring,
        "tasks": {name: {"tokens": each.tokens, "forward_passes": each.passes} for name, each in needs.items()},
    }


def _planned(spec: FamilySpec, root: str | Path | None) -> tuple[str, list[CheckpointRef]]:
    """Every checkpoint that there is or would be, without training or fetching any."""
    from interp.families import family

    if spec.recipe is None:
        name = spec.name or spec.hub or ""
        found = family(name, root=root).checkpoints(size=spec.sizes, setting=spec.settings, seed=spec.seeds)
        return name, found
    from interp.training import load_recipe

    runs = _recipe_runs(spec)
    refs = [
        CheckpointRef(
            family=run.family,
            size=run.size,
            setting=run.setting,
            seed=run.seed,
            step=step,
            manifest={"task": dict(run.task), "n_params": _run_params(run)},
        )
        for run in runs
        for step in run.schedule
    ]
    return load_recipe(spec.recipe).name, refs


def _recipe_runs(spec: FamilySpec) -> list[PlannedRun]:
    from interp.training import planned_runs

    return planned_runs(spec.recipe or "", sizes=spec.sizes, settings=spec.settings, seeds=spec.seeds)


def _to_train(spec: FamilySpec, root: str | Path | None) -> list[PlannedRun]:
    """The runs of a recipe that are not complete in the store."""
    if spec.recipe is None:
        return []
    from interp.families.store import store_root
    from interp.training.checkpoint import missing_steps

    return [run for run in _recipe_runs(spec) if missing_steps(store_root(root), run)]


def _by_run(refs: Sequence[CheckpointRef]) -> list[list[CheckpointRef]]:
    runs: dict[tuple[str, str, int], list[CheckpointRef]] = {}
    for ref in refs:
        runs.setdefault((ref.size, ref.setting, ref.seed), []).append(ref)
    return list(runs.values())


def _chosen(stored: Sequence[CheckpointRef], spec: FamilySpec) -> list[CheckpointRef]:
    steps = set(choose_steps([ref.step for ref in stored], spec.steps))
    return [ref for ref in stored if ref.step in steps]


def _n_params(ref: CheckpointRef) -> int:
    """As its manifest or card says, else as its files do."""
    return int(ref.manifest.get("n_params") or sum(map(n_values, weight_files(ref))))


def _run_params(run: PlannedRun) -> int:
    """Parameters of the model of a run, built without memory."""
    import torch

    from interp.models import build

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(run.model).parameters())


def _run_tokens(run: PlannedRun) -> int:
    from interp.seeds import generator
    from interp.tasks import task

    batch = task(run.task["name"], **run.task["params"]).batch(run.batch, rng=generator(0, "plan"))
    return run.steps * batch.tokens.numel()


def _described(task: TaskSpec, ref: CheckpointRef) -> str:
    """The task as the checkpoint's run was trained on it."""
    trained = ref.manifest.get("task") or {}
    own = trained.get("params") if trained.get("name") == task.name else None
    return f"{task.label} {own}" if own else task.label


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskNeeds:
    """tokens: in one forward pass over the prompts. passes: forward passes over the prompts at one checkpoint."""

    tokens: int
    passes: float


def _task_needs(experiment: Experiment, spec: TaskSpec, ref: CheckpointRef) -> TaskNeeds:
    """What the measures of a task cost at one checkpoint. They run once on a model of one small layer: the cost in
    passes hardly depends on the model."""
    from interp.measure.needs import needs_of
    from interp.measure.observe import measure, observe, shared_cost
    from interp.measure.passes import N_TOKENS
    from interp.models import build, wrap
    from interp.seeds import generator

    skill, split_seed = task_of(spec, ref)
    skill, share = _few_questions(skill, spec.n_prompts)
    config = {"architecture": "native", "n_layers": 1, "n_heads": 1, "d_model": 8, "d_head": 8, "d_mlp": 8}
    config |= {"n_ctx": skill.n_ctx, "d_vocab": len(skill.vocab), "d_vocab_out": len(skill.vocab), "act_fn": "relu"}
    measures = [(entry.name, dict(entry.params)) for entry in experiment.measures]
    prompts = skill.prompts(spec.n_prompts, rng=generator(0, "plan"), seed=split_seed)
    model, splits = wrap(build(config, seed=0)), skill.splits(split_seed)
    seen = observe(model, skill, prompts, splits, needs_of(measures), generator(0, "plan"))
    if N_TOKENS in seen.kept:
        seen = replace(seen, kept={**seen.kept, N_TOKENS: seen.kept[N_TOKENS] / share})
    passes = shared_cost(seen, needs_of(measures))
    for entry in measures:
        rows, _ = measure(seen, [entry])
        passes += rows[0]["cost"] - shared_cost(seen, needs_of([entry])) if rows else 0.0
    is_text = source_kind(ref) == "hub" and skill.tokenizer is not None
    tokens = prompts.clean.numel() / (BYTES_PER_TOKEN if is_text else 1)
    return TaskNeeds(tokens=round(tokens), passes=passes)


def _few_questions(skill: Task, n: int) -> tuple[Task, float]:
    """The task with a few of the n questions that it asks, and which share of them that is."""
    from interp.seeds import generator

    text = skill.text
    if text is None or not (text.examples or text.questions):
        return skill, 1.0
    make = text.questions
    chosen = text.examples[:N_TRIED] if make is None else tuple(make(N_TRIED, rng=generator(0, "plan")))
    asked = n if make is not None else min(n, len(text.examples))
    return replace(skill, text=replace(text, examples=chosen, questions=None)), len(chosen) / max(asked, 1)
