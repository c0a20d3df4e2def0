"""Writing a checkpoint so that a kill at any moment leaves either all of it or nothing that counts.

Weights first, then what training needs to go on, the manifest last; each file appears under its name by a rename. A
folder without a manifest is not a checkpoint. No file holds a wall-clock time, so the same run gives the same bytes.
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

from interp.errors import InputError
from interp.families.recipe import PlannedRun

if TYPE_CHECKING:
    from torch import Generator, Tensor
    from torch.nn import Module
    from torch.optim import Optimizer

RESUME = "resume.safetensors"


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
) -> None:
    """Stores step `step` of `run`, and drops the resume files of earlier steps once this one is complete."""
    folder = run.folder(root) / f"step{step}"
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({name: value.contiguous() for name, value in module.state_dict().items()}, {"format": "pt"})
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
        "task": {**run.task, "split_seed": seeds["split"]},
        "seeds": dict(seeds),
        "optimizer": dict(run.optimizer),
        "batch": run.batch,
        "checkpoints": dict(run.checkpoints),
        "loss_dtype": run.loss_dtype,
        "versions": {name: version(name) for name in ("interp", "torch", "transformer-lens")},
        "recipe": run.digest,
    }
    _replace(folder / "model.safetensors", weights)
    _replace(folder / "config.json", _json(run.model))
    _replace(folder / RESUME, _resume_bytes(optimizer, data_rng, digest=run.digest))
    _replace(folder / "manifest.json", _json(manifest))
    for old in run.folder(root).glob(f"step*/{RESUME}"):
        if old.parent != folder:
            old.unlink()


def missing_steps(root: Path, run: PlannedRun) -> list[int]:
    """The scheduled steps that are not complete in the store.

    Raises:
        InputError: the folder of the run holds checkpoints of another recipe.
    """
    return [step for step in run.schedule if not _complete(run.folder(root) / f"step{step}", run)]


def refuse_other_recipe(root: Path, run: PlannedRun) -> None:
    """Raises InputError, saying what differs, where the run's folder holds a checkpoint that another recipe made."""
    for path in sorted(run.folder(root).glob("step*/manifest.json")):
        manifest = _read_json(path)
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
        manifest = _read_json(folder / "manifest.json")
        try:
            if sha256((folder / "model.safetensors").read_bytes()).hexdigest() != manifest["sha256"]:
                continue
            weights, _ = _read(folder / "model.safetensors")
            state, metadata = _read(folder / RESUME)
        except SafetensorError:
            continue
        if metadata.get("recipe") == run.digest:
            return step, manifest["tokens"], weights, state
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


def _resume_bytes(optimizer: Optimizer, data_rng: Generator, *, digest: str) -> bytes:
    moments = optimizer.state_dict()["state"]
    tensors = {
        f"optimizer/{index}/{key}": value.contiguous()
        for index, entry in moments.items()
        for key, value in entry.items()
        if isinstance(value, torch.Tensor)
    }
    return save({**tensors, "data_rng": data_rng.get_state()}, {"recipe": digest})


def _complete(folder: Path, run: PlannedRun) -> bool:
    from interp.families.weights import is_whole

    manifest = folder / "manifest.json"
    return manifest.is_file() and (folder / "config.json").is_file() and is_whole(folder / "model.safetensors")


def _difference(folder: Path, manifest: Mapping[str, Any], run: PlannedRun) -> str:
    """What the stored checkpoint was made with and what the recipe says now, where the two differ."""
    config = folder / "config.json"
    stored = {**manifest, "steps": manifest.get("budget"), "model": _read_json(config) if config.is_file() else {}}
    stored["task"] = {key: value for key, value in (stored.get("task") or {}).items() if key != "split_seed"}
    found = []
    for key in ("task", "model", "optimizer", "steps", "batch", "checkpoints", "loss_dtype"):
        found += _diff(key, stored.get(key), json.loads(json.dumps(getattr(run, key))))
    return "; ".join(found[:4]) or "made by another version of this library"


def _diff(name: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [line for key in {**old, **new} for line in _diff(f"{name}.{key}", old.get(key), new.get(key))]
    return [] if old == new else [f"{name} was {old!r}, is {new!r} now"]


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}; remove {path.parent} to grow it again") from error
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118


def _replace(path: Path, content: bytes) -> None:
    """Writes `content` under a temporary name (always the same, so that a rerun leaves no debris) and renames it."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_bytes(content)
    os.replace(temporary, path)
