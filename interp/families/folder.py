"""A folder of somebody's own checkpoints as a family: size "own", setting "base", seed 0, a step for each
checkpoint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from interp.errors import InputError
from interp.families.store import CONFIG, MANIFEST, WEIGHTS, read_json, read_manifest
from interp.families.weights import digest
from interp.types import CheckpointRef

STEP_FOLDER = re.compile(r"(?:checkpoint|step|global_step)[-_]?(\d+)")
STEP_FILE = re.compile(r".*?(\d+)\.(safetensors|pth|pt|bin|ckpt)")
TORCH_FILE = re.compile(r".*\.(pth|pt|bin|ckpt)")
ADAPTER = "adapter_config.json"
TRAINER_STATE = "trainer_state.json"
_TRAINERS = re.compile(r"(pytorch_model|training_args|optimizer|scheduler|scaler|rng_state|adapter_model).*")
"""What transformers and its trainer write beside or instead of such files."""


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
    found = _budgeted(list(_step_folders(folder))) or list(_step_files(folder)) or list(_single(folder))
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
    if (step := ref.manifest.get("source", {}).get("step")) is not None:
        parts.append(f"step {step}")  # one file holds the whole run
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
        if named and path.is_dir():
            _refuse_adapter(path)
            if (path / CONFIG).is_file():
                yield _ref(folder, step=int(named[1]), path=path, source=_whole_folder(path))


def _budgeted(refs: list[CheckpointRef]) -> list[CheckpointRef]:
    """With the planned number of steps, where a trainer left word of it beside its last checkpoint (a run that was taken up
    again with another plan has the last one)."""
    for ref in sorted(refs, key=lambda ref: -ref.step):
        path = (ref.path or Path()) / TRAINER_STATE
        try:
            planned = read_json(path).get("max_steps") if path.is_file() else None
        except InputError:
            continue  # cut short, or another program's file of that name: the weights do not depend on it
        if isinstance(planned, int) and planned >= ref.step and planned > 0:
            return [replace(one, manifest={**one.manifest, "budget": planned}) for one in refs]
    return refs


def _refuse_adapter(folder: Path) -> None:
    """Raises InputError for a folder with an adapter, or with a folder of one: alone it is no model, and beside one it is not in
    the weights."""
    for path in (folder / ADAPTER, *sorted(folder.glob(f"*/{ADAPTER}"))):
        if not path.is_file():
            continue
        about = read_json(path)
        base = about.get("base_model_name_or_path")
        raise InputError(
            f"{path.parent} holds an adapter ({about.get('peft_type', 'of no named kind')} for {base}) and not a whole model:"
            " merge it into its base model and save that (peft: merge_and_unload, save_pretrained)"
        )


def _step_files(folder: Path) -> Iterator[CheckpointRef]:
    """Files of one checkpoint each, named by their steps; else the one file that holds a run, or one checkpoint."""
    if not (folder / CONFIG).is_file():
        return
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not _TRAINERS.fullmatch(path.name)]
    numbered = [
        (named, path)
        for path in files
        if (named := STEP_FILE.fullmatch(path.name)) and not re.search(r"-of-\d+\.", path.name)
    ]
    torch_files = [path for path in files if TORCH_FILE.fullmatch(path.name)]
    if len(torch_files) == 1 and len(numbered) <= 1 and (found := list(_one_file(folder, torch_files[0]))):
        yield from found
        return
    for named, path in numbered:
        kind = "state_dict" if named[2] == "safetensors" else "legacy"
        yield _ref(folder, step=int(named[1]), path=folder, source={"kind": kind, "file": path.name})


def _one_file(folder: Path, path: Path) -> Iterator[CheckpointRef]:
    """The checkpoints in the only file of `torch.save`: those of a run, or one by the step that its name or itself gives."""
    from interp.families.published import own_step, series

    source = {"kind": "legacy", "file": path.name}
    try:
        several = series(path)
    except InputError:
        if STEP_FILE.fullmatch(path.name):
            return  # its name says the step; what is wrong with it is told when it is read
        raise
    if several is not None:
        for step in several:
            yield _ref(folder, step=step, path=folder, source={**source, "step": step})
    elif not STEP_FILE.fullmatch(path.name):
        yield _ref(folder, step=own_step(path) or 0, path=folder, source=source)


def _single(folder: Path) -> Iterator[CheckpointRef]:
    _refuse_adapter(folder)
    if (folder / CONFIG).is_file() and (any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin"))):
        named = STEP_FOLDER.fullmatch(folder.name)
        yield _ref(folder, step=int(named[1]) if named else 0, path=folder, source=_whole_folder(folder))


def _whole_folder(path: Path) -> dict[str, str]:
    """How a folder with a config.json is kept: by this library's names or by transformers'."""
    if read_json(path / CONFIG).get("architecture") == "native":
        return {"kind": "state_dict", "file": WEIGHTS}
    return {"kind": "transformers"}


def _ref(folder: Path, *, step: int, path: Path, source: dict[str, Any]) -> CheckpointRef:
    return CheckpointRef(
        family=str(folder), size="own", setting="base", seed=0, step=step, path=path, manifest={"source": source}
    )
