"""Whether stored checkpoints are what they say they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.errors import InputError
from interp.families.address import format_address, parse_address
from interp.families.lookup import family, resolve
from interp.families.read import read_weights, source_kind
from interp.families.store import (
    CONFIG,
    MANIFEST,
    RESUME,
    WEIGHTS,
    complete_folders,
    damage,
    is_sealed,
    read_json,
    read_manifest,
    store_root,
    stored_families,
)
from interp.families.weights import digest, is_whole
from interp.files import write_json
from interp.types import Address, CheckpointRef

if TYPE_CHECKING:
    from torch import Tensor


STRAY = 0.7
"""A checkpoint is apart when its neighbours are closer to each other than this share of its distance to the nearer one.
Along a random walk the share is 1.4, along a straight path 2."""

_SAMPLE = 1_000_000


def verify_target(target: str, *, root: str | Path | None = None) -> dict[str, Any]:
    """A family, or the checkpoints that an address selects, checked: `target`, `checkpoints` (how many), `problems` (one
    sentence each) and `unsealed` (addresses of those without digests of their configuration).

    Raises:
        InputError: no such family or address.
        OSError: a file that may not be read.
    """
    wanted, top = parse_address(target) if ":" in target else Address(family=target), store_root(root)
    if wanted.family not in stored_families(top):
        chosen = {name: getattr(wanted, name) for name in ("size", "setting", "seed", "step")}
        refs, problems = family(wanted.family, root=root).checkpoints(**chosen), list[str]()
    else:
        refs, problems = _listed(top, wanted)
        if not refs and not problems:
            refs = [resolve(wanted, root=root)]  # says what is wrong with the address
    unsealed = [format_address(ref) for ref in refs if not is_sealed(ref)]
    return {"target": target, "checkpoints": len(refs), "problems": problems + verify(refs), "unsealed": unsealed}


def _listed(root: Path, wanted: Address) -> tuple[list[CheckpointRef], list[str]]:
    """The checkpoints in a store that an address selects, by the names of their folders; and what is wrong with the
    manifests that cannot be read."""
    parts = wanted.size, wanted.setting, wanted.seed, wanted.step
    names = [
        None if part is None else f"{prefix}{part}"
        for prefix, part in zip(("", "", "seed", "step"), parts, strict=True)
    ]
    refs, problems = [], []
    for folder in complete_folders(root, wanted.family):
        if all(name in (None, found) for name, found in zip(names, folder.parts[-4:], strict=True)):
            try:
                refs.append(read_manifest(folder))
            except InputError as error:
                problems.append(f"{'/'.join(folder.parts[-5:])}: {error}")
    return refs, problems


def seal(refs: Sequence[CheckpointRef]) -> list[CheckpointRef]:
    """The same checkpoints, each with the digests of all its files in its manifest; manifests without them (older
    versions wrote none) are written anew. What may not be written, or has other weights than it says, stays unsealed."""
    return [ref if is_sealed(ref) else _sealed(ref) for ref in refs]


def _sealed(ref: CheckpointRef) -> CheckpointRef:
    assert ref.path is not None
    found = {name: digest(ref.path / name) for name in (CONFIG, RESUME) if (ref.path / name).is_file()}
    weights = ref.path / WEIGHTS
    if CONFIG not in found or not weights.is_file() or digest(weights) != ref.sha256:
        return ref
    try:
        write_json(ref.path / MANIFEST, {**read_json(ref.path / MANIFEST), "files": found})
    except OSError:
        return ref
    return read_manifest(ref.path)


def verify(refs: Sequence[CheckpointRef]) -> list[str]:
    """What is wrong with these checkpoints, one sentence a problem; empty where all is well.

    Checked are: weights that are missing, truncated or differ from the manifest's digest; config.json and resume state
    that do; a manifest that names another place than it lies in; two steps of a run with equal weights (a file behind
    the wrong name); a step whose weights lie apart from both its neighbours (weights that jump back, or of another
    run); folders of the same runs whose writing was cut short. Checkpoints of a hub are checked as far as they were
    fetched.
    """
    problems: list[str] = []
    sound: dict[tuple[str, str, str, int], list[tuple[CheckpointRef, str]]] = defaultdict(list)
    for ref in refs:
        folder = _here(ref)
        if folder is None:
            continue
        sha256, problem = _check(ref, folder)
        if problem:
            problems.append(f"{format_address(ref)}: {problem}")
        if sha256:
            sound[ref.family, ref.size, ref.setting, ref.seed].append((ref, sha256))
    for found in sound.values():
        problems += _twins(found)
        problems += _strays([ref for ref, _ in sorted(found, key=lambda entry: entry[0].step)])
    return problems + [f"{folder} is incomplete: it has no {MANIFEST}" for folder in _unfinished(refs)]


def _here(ref: CheckpointRef) -> Path | None:
    """The checkpoint's folder where it is on this machine."""
    if source_kind(ref) == "hub":
        from interp.families.hub import cached_folder

        return cached_folder(ref)
    return ref.path


def _twins(found: Sequence[tuple[CheckpointRef, str]]) -> list[str]:
    """Steps of a run that have the same weights."""
    steps: dict[str, list[int]] = defaultdict(list)
    for ref, sha256 in found:
        steps[sha256].append(ref.step)
    run = format_address(replace(found[0][0], step=0)).removesuffix("@step0")
    return [
        f"{run}: steps {' and '.join(map(str, sorted(twins)))} have the same weights"
        for twins in steps.values()
        if len(twins) > 1
    ]


def _strays(refs: Sequence[CheckpointRef]) -> list[str]:
    """Steps of a run whose weights lie apart from both neighbours, by Euclidean distance over up to a million
    weights."""
    problems = []
    window: list[tuple[CheckpointRef, Tensor]] = []
    for ref in refs:
        try:
            window = [*window[-2:], (ref, _sample(read_weights(ref)))]
        except InputError:
            continue  # told of by its digest, or by whoever loads it
        if len(window) == 3 and len({vector.shape for _, vector in window}) == 1:
            (_, before), (middle, vector), (_, after) = window
            around = (after - before).norm().item()
            nearest = min((vector - before).norm().item(), (after - vector).norm().item())
            if 0 < around < STRAY * nearest:
                problems.append(
                    f"{format_address(middle)}: its weights lie apart from both neighbours (at least {nearest:.3g} "
                    f"away, which are {around:.3g} from each other): weights of another step or run?"
                )
    return problems


def _sample(weights: Mapping[str, Tensor]) -> Tensor:
    import torch

    every = max(1, sum(value.numel() for value in weights.values()) // _SAMPLE)
    return torch.cat([weights[name].flatten()[::every].float() for name in sorted(weights)])


def _check(ref: CheckpointRef, folder: Path) -> tuple[str | None, str | None]:
    """(digest of the weights, what is wrong)."""
    if source_kind(ref) is not None:
        return _check_foreign(ref, folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        return None, f"{WEIGHTS} is missing"
    if not is_whole(weights):
        return None, f"{WEIGHTS} is truncated or damaged"
    if not (folder / CONFIG).is_file():
        return None, f"{CONFIG} is missing"
    differ = {path.name: digest(path) for path in damage(folder)}
    if differ:
        said = {WEIGHTS: str(ref.sha256), **ref.manifest.get("files", {})}
        told = (
            f"{name} has the digest {found[:12]}…, the manifest says {str(said.get(name))[:12]}…"
            for name, found in differ.items()
        )
        return None if WEIGHTS in differ else ref.sha256, "; ".join(told)
    sha256 = digest(weights)
    lies_in = (ref.size, ref.setting, f"seed{ref.seed}", f"step{ref.step}")
    if folder.resolve().parts[-4:] != lies_in:
        return sha256, f"its manifest says {'/'.join(lies_in)}, it lies in {'/'.join(folder.resolve().parts[-4:])}"
    return sha256, None


def _check_foreign(ref: CheckpointRef, folder: Path) -> tuple[str | None, str | None]:
    """The same for files that others wrote, which come without a digest of their own."""
    name = ref.manifest["source"].get("file")
    files = [folder / name] if name else sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])
    if not files:
        return None, "no weights"
    for file in files:
        if file.suffix == ".safetensors" and not is_whole(file):
            return None, f"{file.name} is truncated or damaged"
    if source_kind(ref) == "hub":
        from interp.families.hub import damage as damage_of_fetched

        if problem := damage_of_fetched(ref):
            return None, problem
    return "".join(digest(file) for file in files), None


def _unfinished(refs: Sequence[CheckpointRef]) -> list[Path]:
    """Step folders without a manifest, in the runs that these checkpoints are of."""
    runs = {ref.path.parent for ref in refs if ref.path is not None and source_kind(ref) is None}
    folders = (folder for run in sorted(runs) for folder in sorted(run.glob("step*")) if folder.is_dir())
    return [folder for folder in folders if not (folder / MANIFEST).is_file()]
