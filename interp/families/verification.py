"""Whether stored checkpoints are what they say they are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
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
from interp.families.trajectory import disorder, sketch, unseen
from interp.families.weights import digest, is_whole
from interp.files import write_json
from interp.types import Address, CheckpointRef

if TYPE_CHECKING:
    from torch import Tensor


def verify_target(target: str, *, root: str | Path | None = None) -> dict[str, Any]:
    """A family, or the checkpoints that an address selects, checked: `target`, `checkpoints` (how many), `problems` (one
    sentence each), `unsealed` (addresses of those without digests of their configuration) and `unseen` (where the weights of a
    run do not show the order of its steps).

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
    found, unseen_order = examine(refs)
    return {
        "target": target,
        "checkpoints": len(refs),
        "problems": problems + found,
        "unsealed": unsealed,
        "unseen": unseen_order,
    }


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
    the wrong name); steps whose weights do not lie in their order (`interp.families.trajectory`: exchanged neighbours, a
    wrong first or last step, weights that jump back or are another run's); folders of the same runs whose writing was cut
    short. Checkpoints of a hub are checked as far as they were fetched.
    """
    return examine(refs)[0]


def examine(refs: Sequence[CheckpointRef]) -> tuple[list[str], list[str]]:
    """What `verify` gives, and what it cannot see: of each run, where its weights do not show their order."""
    problems: list[str] = []
    hidden: list[str] = []
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
        out_of_order, cannot = _order([ref for ref, _ in sorted(found, key=lambda entry: entry[0].step)])
        problems += out_of_order
        hidden += [cannot] if cannot else []
    problems += [f"{folder} is incomplete: it has no {MANIFEST}" for folder in _unfinished(refs)]
    return problems, hidden


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


def _walked(refs: Sequence[CheckpointRef]) -> tuple[list[int], Tensor] | None:
    """The steps of a run's readable checkpoints that have the same tensors as most, and an even sample of their weights."""
    import torch

    found: list[tuple[int, Tensor]] = []
    for ref in refs:
        try:
            found.append((ref.step, sketch(read_weights(ref))))
        except InputError:
            continue  # told of by its digest, or by whoever loads it
    if not found:
        return None
    usual = Counter(vector.shape for _, vector in found).most_common(1)[0][0]
    kept = [(step, vector) for step, vector in found if vector.shape == usual]
    return [step for step, _ in kept], torch.stack([vector for _, vector in kept])


def _order(refs: Sequence[CheckpointRef]) -> tuple[list[str], str | None]:
    """What does not lie in the order of a run's steps, and what its weights cannot show of that order."""
    walked, run = _walked(refs), format_address(replace(refs[0], step=0)).removesuffix("@step0")
    if walked is None:
        return [], None
    problems = [
        f"{run}@step{steps[0]}: {said}" if len(steps) == 1 else f"{run}: steps {steps[0]} and {steps[1]} {said}"
        for steps, said in disorder(*walked)
    ]
    hidden = unseen(*walked)
    return problems, None if hidden is None else f"{run}: {hidden}"


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
