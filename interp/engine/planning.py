"""What an experiment would need, before anything runs: checkpoints, downloads, disk, memory, FLOPs and time.

FLOPs: 6 a parameter and token for training (Kaplan et al. 2020, arXiv 2001.08361), 2 for a forward pass. What the
measures cost in forward passes is measured, not guessed: they run once on a very small model with the same tasks.
Texts for a hub's model are counted as BYTES_PER_TOKEN bytes a token, since no tokenizer is at hand.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.engine.config import Experiment, FamilySpec
from interp.engine.planning_circuits import Shape, Unshaped, passes_at
from interp.engine.planning_tasks import TaskNeeds, described, few, shape_of, task_needs
from interp.engine.steps import choose_steps
from interp.engine.units import needs_of_measure, reach
from interp.errors import unknown
from interp.types import CheckpointRef

if TYPE_CHECKING:
    from interp.training import PlannedRun

UTILISATION = 0.3
"""Share of a GPU's peak that transformer inference and training are taken to reach."""

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}
HUB_BYTES = 2
"""Bytes a parameter of weights on the hub: the listed families store half precision; twice that where they do not."""


ASSUMED: Shape = (12, 12)
"""Layers and heads where neither files nor recipe say: those of GPT-2 small and of Pythia-160m."""


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
    "compared_checkpoints",
    "circuit_checkpoints",
    "to_train",
    "to_download",
    "download_gb",
    "disk_gb",
    "training_flops",
    "measuring_flops",
    "circuit_flops",
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
    runs = [(stored, _chosen(stored, spec)) for stored in _by_run(planned)]
    refs = [ref for _, chosen in runs for ref in chosen]
    beside = [ref for stored, chosen in runs for ref in _compared(stored, chosen, experiment)]
    fetch = [ref for ref in (*refs, *beside) if ref.path is None and "source" in ref.manifest]
    stored_bytes = DTYPE_BYTES["float32"]
    n_params = [_n_params(ref) for ref in refs]
    needs: dict[str, TaskNeeds] = {}  # by the task as a run was trained on it
    measuring = 0.0
    for ref, passes in [*((ref, "passes") for ref in refs), *((ref, "shared") for ref in beside)]:
        for task in experiment.tasks:
            label = described(task, ref)
            if label not in needs:
                needs[label] = task_needs(experiment, task, ref)
            measuring += 2 * _n_params(ref) * needs[label].tokens * getattr(needs[label], passes)
    circuits = _circuit_needs(experiment, [chosen for _, chosen in runs], needs)
    train = _to_train(spec, root)
    return {
        "family": name,
        "runs": len(_by_run(planned)),
        "checkpoints": len(refs),
        "compared_checkpoints": len(beside),
        "circuit_checkpoints": circuits.checkpoints,
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
        "measuring_flops": measuring + circuits.flops,
        "circuit_flops": circuits.flops,
        "tasks": {name: {"tokens": each.tokens, "forward_passes": each.passes} for name, each in needs.items()},
        "notes": list(circuits.notes),
    }


def _compared(
    stored: Sequence[CheckpointRef], chosen: Sequence[CheckpointRef], experiment: Experiment
) -> list[CheckpointRef]:
    """Checkpoints of a run that are not measured, and read all the same because a measure compares with them."""
    wanted = {need for measure in experiment.measures for need in needs_of_measure(measure.name)}
    steps = [ref.step for ref in stored]
    places = {steps.index(ref.step) for ref in chosen}
    used = {back for place in places for back in range(max(place - reach(wanted), 0), place)}
    used |= {0} if "initial" in wanted and places else set()
    used |= {len(stored) - 1} if "final" in wanted and places else set()
    return [stored[place] for place in sorted(used - places)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitNeeds:
    """checkpoints: at how many a circuit is looked for. notes: what was assumed."""

    checkpoints: int = 0
    flops: float = 0.0
    notes: tuple[str, ...] = ()


def _circuit_needs(
    experiment: Experiment, runs: Sequence[Sequence[CheckpointRef]], needs: Mapping[str, TaskNeeds]
) -> CircuitNeeds:
    """What circuits cost in a family: at every so many of the chosen checkpoints, and at the last."""
    wanted = experiment.circuits
    if wanted is None:
        return CircuitNeeds()
    flops, notes = 0.0, dict[str, None]()
    at = [ref for run in runs for k, ref in enumerate(run) if k % wanted.every == 0 or k == len(run) - 1]
    for ref in at:
        shape = shape_of(ref)
        for task in experiment.tasks:
            skill, split_seed = few(described(task, ref), task, ref)
            try:
                passes = passes_at(skill, split_seed, wanted, shape)
            except Unshaped:
                passes = passes_at(skill, split_seed, wanted, ASSUMED)
                notes[f"{ref.family}:{ref.size}: its shape is not known here; circuits are counted for {ASSUMED[0]} layers of "
                      f"{ASSUMED[1]} heads"] = None  # fmt: skip
            each = needs[described(task, ref)].tokens / task.n_prompts
            flops += 2 * _n_params(ref) * each * wanted.n_prompts * passes
    return CircuitNeeds(checkpoints=len(at), flops=flops, notes=tuple(notes))


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
            manifest={
                "task": dict(run.task),
                "n_params": _run_params(run),
                "shape": [run.model["n_layers"], run.model["n_heads"]],
            },
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
