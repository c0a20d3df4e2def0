"""A folder of somebody's own checkpoints as a family: size "own", setting "base", seed 0, a step for each
checkpoint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from interp.errors import InputError
from interp.families.store import CONFIG, MANIFEST, WEIGHTS, read_json, read_manifest
from interp.families.weights import digest
from interp.types import CheckpointRef

STEP_FOLDER = re.compile(r"(?:checkpoint|step|global_step)[-_]?(\d+)")
STEP_FILE = re.compile(r".*?(\d+)\.(safetensors|pth)")
_KINDS = {"safetensors": "state_dict", "pth": "legacy"}


def folder_checkpoints(folder: Path) -> list[CheckpointRef]:
    """The checkpoints in a folder, in no order.

    Found are: complete checkpoints of this library, at any depth down to family level; else folders `checkpoint-500`,
    `step500`, `global_step500` with a config.json; else files that end in `500.safetensors` or `500.pth` beside a
    config.json; else the folder itself, where it is one checkpoint.

    Raises:
        InputError: none of these, or a step that is there twice.
    """
    own = [path.parent for depth in range(5) for path in folder.glob("*/" * depth + MANIFEST)]
    if own:
        return [read_manifest(path) for path in own]
    found = list(_step_folders(folder)) or list(_step_files(folder)) or list(_single(folder))
    if not found:
        raise InputError(
            f"{folder} holds no checkpoints: expected folders checkpoint-500/ or step500/ with a {CONFIG}, or files "
            f"step500.safetensors or name_500.pth beside a {CONFIG}"
        )
    steps = [ref.step for ref in found]
    if len(set(steps)) < len(steps):
        twice = next(step for step in steps if steps.count(step) > 1)
        raise InputError(f"{folder} holds step {twice} more than once")
    return found


def digested(ref: CheckpointRef) -> CheckpointRef:
    """The reference with a digest of its weight files and configuration, where it is a folder that names none."""
    if ref.sha256 is not None or ref.path is None:
        return ref
    parts = [digest(path) for path in (*weight_files(ref), ref.path / CONFIG)]
    return replace(ref, sha256=hashlib.sha256("".join(parts).encode()).hexdigest())


def weight_files(ref: CheckpointRef) -> list[Path]:
    """The files in a checkpoint's folder that hold its weights."""
    if ref.path is None:
        return []
    file = ref.manifest.get("source", {}).get("file")
    if file is not None:
        return [ref.path / file]
    return sorted(ref.path.glob("*.safetensors")) or sorted(ref.path.glob("pytorch_model*.bin"))


def _step_folders(folder: Path) -> Iterator[CheckpointRef]:
    for path in folder.iterdir():
        named = STEP_FOLDER.fullmatch(path.name)
        if named and (path / CONFIG).is_file():
            yield _ref(folder, step=int(named[1]), path=path, source=_whole_folder(path))


def _step_files(folder: Path) -> Iterator[CheckpointRef]:
    if not (folder / CONFIG).is_file():
        return
    for path in folder.iterdir():
        named = STEP_FILE.fullmatch(path.name)
        if named and path.is_file() and not re.search(r"-of-\d+\.", path.name):
            yield _ref(folder, step=int(named[1]), path=folder, source={"kind": _KINDS[named[2]], "file": path.name})


def _single(folder: Path) -> Iterator[CheckpointRef]:
    if (folder / CONFIG).is_file() and (any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin"))):
        named = STEP_FOLDER.fullmatch(folder.name)
        yield _ref(folder, step=int(named[1]) if named else 0, path=folder, source=_whole_folder(folder))


def _whole_folder(path: Path) -> dict[str, str]:
    """How a folder with a config.json is kept: by this library's names or by transformers'."""
    if read_json(path / CONFIG).get("architecture") == "native":
        return {"kind": "state_dict", "file": WEIGHTS}
    return {"kind": "transformers"}


def _ref(folder: Path, *, step: int, path: Path, source: dict[str, str]) -> CheckpointRef:
    return CheckpointRef(
        family=str(folder), size="own", setting="base", seed=0, step=step, path=path, manifest={"source": source}
    )
