"""The local store: `<root>/<family>/<size>/<setting>/seed<k>/step<N>/` with weights, config.json and manifest.json."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interp import files
from interp.errors import Damaged, InputError
from interp.families.weights import digest
from interp.types import CheckpointRef

ROOT_VARIABLE = "INTERP_CHECKPOINTS"
WEIGHTS, CONFIG, MANIFEST, RESUME = "model.safetensors", "config.json", "manifest.json", "resume.safetensors"
_FIELDS = ("family", "size", "setting", "seed", "step", "sha256", "tokens")


def store_root(root: str | Path | None = None) -> Path:
    """Where checkpoints are: the argument, else $INTERP_CHECKPOINTS, else ./checkpoints."""
    return Path(root if root is not None else os.environ.get(ROOT_VARIABLE) or "checkpoints")


def stored_families(root: Path) -> list[str]:
    """The families that have at least one complete checkpoint in the store, sorted."""
    if not root.is_dir():
        return []
    return sorted(f.name for f in root.iterdir() if f.is_dir() and next(f.glob(f"*/*/seed*/step*/{MANIFEST}"), None))


def stored_checkpoints(root: Path, family: str) -> tuple[list[CheckpointRef], dict[Path, InputError]]:
    """The complete checkpoints of a family, those with a manifest; and the folders whose manifest is not what was written,
    with what is wrong: one of them does not hide the others."""
    refs: list[CheckpointRef] = []
    damaged: dict[Path, InputError] = {}
    for folder in complete_folders(root, family):
        try:
            refs.append(read_manifest(folder))
        except InputError as error:
            damaged[folder] = error
    return refs, damaged


def place(folder: Path) -> str:
    """The address that a folder of the store stands for."""
    family, size, setting, seed, step = folder.parts[-5:]
    return f"{family}:{size}/{setting}/{seed}@{step}"


def complete_folders(root: Path, family: str) -> list[Path]:
    """Step folders with a manifest."""
    return sorted(path.parent for path in (root / family).glob(f"*/*/seed*/step*/{MANIFEST}"))


def incomplete_folders(root: Path, family: str) -> list[Path]:
    """Step folders without a manifest: their writing was cut short."""
    folders = (root / family).glob("*/*/seed*/step*")
    return sorted(f for f in folders if f.is_dir() and not (f / MANIFEST).is_file())


def read_manifest(folder: Path) -> CheckpointRef:
    """The reference that a checkpoint's manifest describes.

    Raises:
        InputError: no manifest, or a field of the contract missing or of the wrong kind; Damaged: not what was written.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{folder} is incomplete: it has no {MANIFEST} (its writing was cut short; train again to finish it)"
        )
    manifest = read_json(path)
    lacking = [name for name in _FIELDS[:6] if name not in manifest]
    if lacking:
        raise InputError(f"{path} lacks {', '.join(lacking)}")
    step, seed = manifest["step"], manifest["seed"]
    if not isinstance(step, int) or not isinstance(seed, int):
        raise InputError(f"{path}: step and seed are whole numbers, not {step!r} and {seed!r}")
    return CheckpointRef(
        family=str(manifest["family"]),
        size=str(manifest["size"]),
        setting=str(manifest["setting"]),
        seed=seed,
        step=step,
        path=folder,
        sha256=manifest["sha256"],
        tokens=manifest.get("tokens"),
        manifest={name: value for name, value in manifest.items() if name not in _FIELDS},
    )


def read_json(path: Path) -> dict[str, Any]:
    """The mapping that a JSON file holds.

    Raises:
        InputError: missing, or not a mapping; Damaged: not JSON, or not what was written.
    """
    try:
        found = files.read_json(path)
    except FileNotFoundError as error:
        raise InputError(f"no file {path}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds a {type(found).__name__}, expected a mapping")
    return found


def damage(folder: Path) -> list[Path]:
    """The files of a checkpoint of this library that are not what its manifest says; the manifest itself, where it is
    not what was written. What is not there is not among them.

    Raises:
        OSError: a file that may not be read.
    """
    try:
        ref = read_manifest(folder)
    except Damaged:
        return [folder / MANIFEST]
    expected = {WEIGHTS: ref.sha256, **ref.manifest.get("files", {})}
    there = {name: folder / name for name in expected if (folder / name).is_file()}
    return [path for name, path in there.items() if digest(path) != expected[name]]


def is_sealed(ref: CheckpointRef) -> bool:
    """Whether a checkpoint's manifest has the digests of the files beside the weights (older versions wrote none)."""
    return ref.path is None or "source" in ref.manifest or "files" in ref.manifest


def order(ref: CheckpointRef) -> tuple[Any, ...]:
    """Sorts checkpoints: family, size (by parameters, then by the numbers in its name), setting, seed, step."""
    return ref.family, _n_params(ref.manifest), natural(ref.size), ref.setting, ref.seed, ref.step


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A sort key under which d24 comes before d128."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name))


def _n_params(manifest: Mapping[str, Any]) -> int:
    return int(manifest.get("n_params") or 0)
