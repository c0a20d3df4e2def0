"""Writing a checkpoint so that a kill at any moment leaves either all of it or nothing that counts.

Weights first, then what training needs to go on, the manifest last; each file appears under its name by a rename. A
folder without a manifest is not a checkpoint. The manifest has the digests of the other files and a seal of its own
(`interp.files`). No file holds a wall-clock time, so the same run gives the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from interp.errors import Damaged, InputError
from interp.families.planned import PlannedRun
from interp.families.store import CONFIG, MANIFEST, RESUME, WEIGHTS, damage, read_json
from interp.files import sealed_json, set_aside

if TYPE_CHECKING:
    from torch import Generator, Tensor
    from torch.nn import Module
    from torch.optim import Optimizer


def write_checkpoint(
    root: Path,
    run: PlannedRun,
    *,
    step: int,
    tokens: int,
    module: Module,
    optimizer: Optimizer,
    data_rng: Generator,
    seeds: Mapping[str, int],
    memory: Mapping[str, Tensor],
) -> None:
    """Stores step `step` of `run`, and drops the resume files of earlier steps once this one is complete. memory: what its
    interventions have to know to go on."""
    folder = run.folder(root) / f"step{step}"
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({name: value.contiguous() for name, value in module.state_dict().items()}, {"format": "pt"})
    config, resume = _json(run.model), _resume_bytes(optimizer, data_rng, memory, digest=run.digest)
    manifest = {
        "family": run.family,
        "size": run.size,
        "setting": run.setting,
        "seed": run.seed,
        "step": step,
        "tokens": tokens,
        "budget": run.steps,
        "n_params": sum(value.numel() for value in module.parameters()),
        "sha256": sha256(weights).hexdigest(),
        "files": {CONFIG: sha256(config).hexdigest(), RESUME: sha256(resume).hexdigest()},
        "task": {**run.task, "split_seed": seeds["split"]},
        "seeds": dict(seeds),
        "optimizer": dict(run.optimizer),
        "batch": run.batch,
        "checkpoints": dict(run.checkpoints),
        "loss_dtype": run.loss_dtype,
        "versions": {name: version(name) for name in ("interp", "torch", "transformer-lens")},
        "recipe": run.digest,
    }
    if run.interventions:
        manifest["interventions"] = [dict(one) for one in run.interventions]
    _replace(folder / WEIGHTS, weights)
    _replace(folder / CONFIG, config)
    _replace(folder / RESUME, resume)
    _replace(folder / MANIFEST, sealed_json(manifest))
    for old in run.folder(root).glob(f"step*/{RESUME}"):
        if old.parent != folder:
            old.unlink()


def missing_steps(root: Path, run: PlannedRun) -> list[int]:
    """The scheduled steps that are not complete in the store.

    Raises:
        InputError: the folder of the run holds checkpoints of another recipe.
    """
    return [step for step in run.schedule if not _complete(run.folder(root) / f"step{step}")]


def set_aside_damaged(root: Path, run: PlannedRun) -> list[Path]:
    """Moves files of the run that are not what was written into a folder `damaged` beside them; returns where they are
    now. What they held is grown again, resume states excepted: those only spare a longer run its beginning."""
    steps = sorted(path.parent for path in run.folder(root).glob(f"step*/{MANIFEST}"))
    return [set_aside(path) for folder in steps for path in damage(folder)]


def has_damage(root: Path, run: PlannedRun) -> bool:
    """Whether a file of the run is not what was written, the resume state included."""
    return any(damage(path.parent) for path in run.folder(root).glob(f"step*/{MANIFEST}"))


def refuse_other_recipe(root: Path, run: PlannedRun) -> None:
    """Raises InputError, saying what differs, where the run's folder holds a checkpoint that another recipe made.
    Damaged manifests say nothing."""
    for path in sorted(run.folder(root).glob(f"step*/{MANIFEST}")):
        try:
            manifest = read_json(path)
        except Damaged:
            continue
        if manifest.get("recipe") != run.digest:
            raise InputError(
                f"{run.folder(root)} holds checkpoints of another recipe ({_difference(path.parent, manifest, run)}); "
                "give the recipe another name, train into another folder, or remove that one"
            )


def resume_point(root: Path, run: PlannedRun) -> tuple[int, int, dict[str, Tensor], dict[str, Tensor]] | None:
    """The latest step to go on from: (step, tokens, weights, resume state); None to start afresh.

    A step counts when it and every scheduled step before it are complete and its two files are whole.
    """
    before_gap = [step for step in run.schedule if step < min(missing_steps(root, run), default=run.steps + 1)]
    for step in reversed(before_gap):
        folder = run.folder(root) / f"step{step}"
        if not (folder / RESUME).is_file():
            continue
        try:
            if damage(folder):
                continue
            weights, _ = _read(folder / WEIGHTS)
            state, metadata = _read(folder / RESUME)
        except SafetensorError:
            continue
        if metadata.get("recipe") == run.digest:
            return step, read_json(folder / MANIFEST)["tokens"], weights, state
    return None


def restore(state: Mapping[str, Tensor], optimizer: Optimizer, data_rng: Generator) -> None:
    """Puts the state that a resume file holds back into the optimiser and the generator of the data order."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            moments.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    data_rng.set_state(state["data_rng"])


def _resume_bytes(optimizer: Optimizer, data_rng: Generator, memory: Mapping[str, Tensor], *, digest: str) -> bytes:
    moments = optimizer.state_dict()["state"]
    tensors = {
        f"optimizer/{index}/{key}": value.contiguous()
        for index, entry in moments.items()
        for key, value in entry.items()
        if isinstance(value, torch.Tensor)
    }
    return save({**tensors, **memory, "data_rng": data_rng.get_state()}, {"recipe": digest})


def _complete(folder: Path) -> bool:
    there = all((folder / name).is_file() for name in (MANIFEST, CONFIG, WEIGHTS))
    return there and not [path for path in damage(folder) if path.name != RESUME]


def _difference(folder: Path, manifest: Mapping[str, Any], run: PlannedRun) -> str:
    """What the stored checkpoint was made with and what the recipe says now, where the two differ."""
    config = folder / CONFIG
    stored = {**manifest, "steps": manifest.get("budget"), "model": read_json(config) if config.is_file() else {}}
    stored["task"] = {key: value for key, value in (stored.get("task") or {}).items() if key != "split_seed"}
    stored.setdefault("interventions", [])
    found = []
    for key in ("task", "model", "optimizer", "steps", "batch", "checkpoints", "loss_dtype", "interventions"):
        found += _diff(key, stored.get(key), json.loads(json.dumps(getattr(run, key))))
    return "; ".join(found[:4]) or "made by another version of this library"


def _diff(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [line for key in {**old, **new} for line in _diff(f"{name}.{key}", old.get(key), new.get(key))]
    return [] if old == new else [f"{name} was {old!r}, is {new!r} now"]


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118


def _replace(path: Path, content: bytes) -> None:
    """Writes `content` under a temporary name (always the same, so that a rerun leaves no debris) and renames it."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_bytes(content)
    os.replace(temporary, path)
