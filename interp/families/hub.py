"""Checkpoints on the Hugging Face hub: what is there, fetching one, and keeping the fetched ones within a disk budget.

Files are fetched with `huggingface_hub` (which resumes a transfer that breaks off, and honours HF_ENDPOINT,
HF_HUB_OFFLINE and HF_HUB_DOWNLOAD_TIMEOUT) into $INTERP_HUB_CACHE, by default ~/.cache/interp/hub; what the standard
cache already holds is used from there. $INTERP_DISK_BUDGET_GB, or an experiment's disk_budget_gb, limits the cache of
this library: the longest unused revisions go first, and what somebody reads stays.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from interp.errors import Damaged, InputError
from interp.families import ledger
from interp.families.address import format_address
from interp.families.asking import Listed, Unreachable, download, listed_files, listed_revisions
from interp.families.repository import BESIDE, WEIGHTS, announced, is_in, is_sound, wanted, weight_files
from interp.families.weights import TOKENIZER_FILES, digest, folder_digest, is_whole
from interp.types import CheckpointRef

TRIES = 3
"""How often a checkpoint is fetched for one use: others may make room before it begins."""

LARGEST_BESIDE = 2**28
"""Bytes of a configuration or tokenizer's file. The listed families' largest is 35 MB."""


def fetch(ref: CheckpointRef) -> Path:
    """The folder on this machine that holds a checkpoint of the hub; fetched where it is not here yet.

    Raises:
        InputError: no such repository or revision, no access, no connection (and not in a cache), files that break off
            again and again or have another digest than the hub says, a checkpoint larger than the disk budget.
    """
    with on_disk(ref) as folder:
        return folder


@contextmanager
def on_disk(ref: CheckpointRef) -> Iterator[Path]:
    """As `fetch`; the folder stays there while the block reads it, whatever room others need."""
    source = ref.manifest["source"]
    found = _cached(source) or _fetch(ref)
    for _ in range(TRIES):
        with ledger.in_use(found, cache=hub_cache()):
            if _cached(source) == found:
                yield found / source.get("subfolder", "")
                return
        found = _fetch(ref)  # another process made room before this one began to read
    raise InputError(
        f"{_what(ref)}: what was fetched is gone before it is read, {TRIES} times; is the disk budget too small?"
    )


def _fetch(ref: CheckpointRef) -> Path:
    files = wanted(_describe(ref), ref.manifest["source"])
    with ledger.room_for(sum(file.size for file in files), cache=hub_cache()):
        return _download(ref, files)


def pinned(refs: Sequence[CheckpointRef]) -> list[CheckpointRef]:
    """The references with the digests of their weights, and of their configuration and tokenizer (`beside` in the
    manifest). Where they are not known the hub is asked; what it keeps no digest of is fetched.

    The digest of several files is that of their digests. `sha256` stays None where a checkpoint is neither on the hub
    nor on this machine, or the hub cannot be reached.
    """
    known, beside = ledger.digests(hub_cache()), ledger.digests(hub_cache(), of="beside")
    found, reachable = [], True
    for ref in refs:
        if ref.manifest.get("source", {}).get("kind") == "hub":
            name, folder = place(ref.manifest["source"]), cached_folder(ref)
            ours = folder is None or folder.is_relative_to(hub_cache())
            if name not in known or (ours and name not in beside):
                try:
                    known[name], seen = _digests(ref, ask=reachable)
                except Unreachable:
                    known[name], seen, reachable = None, None, False
                beside[name] = seen if ours else beside.get(name)  # elsewhere only some of the files may be there
                ledger.record(name, known[name], beside[name], cache=hub_cache())
            if ours and folder is not None and (problem := damage(ref, weights=False)):
                raise Damaged(f"{format_address(ref)}: {problem}")
            beside_ = beside.get(name) if folder is None or ours else folder_digest(folder)
            ref = replace(ref, sha256=known[name], manifest={**ref.manifest, "beside": beside_})
        found.append(ref)
    return found


def damage(ref: CheckpointRef, *, weights: bool = True) -> str | None:
    """What differs in this library's cache from what was fetched, None where nothing does or nothing is there."""
    name, folder = place(ref.manifest["source"]), cached_folder(ref)
    if folder is None or not folder.is_relative_to(hub_cache()):
        return None
    if ledger.digests(hub_cache(), of="beside").get(name) not in (None, folder_digest(folder)):
        return (
            f"the configuration or tokenizer in {folder} is not what was fetched; remove that folder to fetch it again"
        )
    if weights:
        names = weight_files([path.name for path in folder.iterdir()], {**ref.manifest["source"], "subfolder": ""})
        found = ledger.joined([digest(folder / file) for file in names])
        if ledger.digests(hub_cache()).get(name) not in (None, found):
            return f"the weights in {folder} are not what was fetched; remove that folder to fetch them again"
    return None


def _digests(ref: CheckpointRef, *, ask: bool) -> tuple[str | None, str | None]:
    """The digests of a checkpoint's weights (of the files, where the hub tells none) and of what lies beside them."""
    source = ref.manifest["source"]
    if cached_folder(ref) is None:
        if not ask:
            return None, None
        try:
            files = wanted(_describe(ref), source)
            weights = announced(files, source)
            if weights is not None:
                beside = [file for file in files if file.name not in weight_files([f.name for f in files], source)]
                return weights, folder_digest(_download_all(ref, beside) / source.get("subfolder", ""))
        except Unreachable:
            raise
        except InputError:
            return None, None
    with on_disk(ref) as folder:
        names = weight_files([path.name for path in folder.iterdir()], {**source, "subfolder": ""})
        return ledger.joined([digest(folder / name) for name in names]), folder_digest(folder)


def tokenizer_folder(repo: str) -> Path:
    """The folder on this machine that holds a repository's tokenizer, with its configuration; fetched where it is not
    here.

    Raises:
        InputError: as `fetch`.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    kept = ledger.listing(f"{repo} tokenizer", cache=hub_cache(), max_age_days=None)
    names = kept or ["tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "tokenizer.model"]
    for cache in (hub_cache(), Path(constants.HF_HUB_CACHE)):
        paths = [try_to_load_from_cache(repo, name, cache_dir=cache) for name in names]
        there = [Path(path) for path in paths if isinstance(path, str)]
        if there and (len(there) == len(names) if kept else cache != hub_cache()):
            return there[0].parent
    what = f"the tokenizer of {repo}"
    files = [
        file for file in listed_files(repo, None, what=what) if is_in(file.name, "", rf"config\.json|{TOKENIZER_FILES}")
    ]
    if not files:
        raise InputError(f"{what}: the hub has no files of one")
    paths_ = [_download_file(repo, "main", file, what=what) for file in files]
    ledger.keep_listing(f"{repo} tokenizer", [file.name for file in files], cache=hub_cache())
    return paths_[0].parent


def published(repo: str, where: str) -> list[str]:
    """The names that a repository has of a kind: its branches and tags ("revision"), its folders or its files.

    Asked once a day; the answer is kept for when there is no connection.
    """
    kept = ledger.listing(f"{repo} {where}", cache=hub_cache(), max_age_days=1)
    if kept is not None:
        return kept
    try:
        names = _names(repo, where)
    except InputError:
        kept = ledger.listing(f"{repo} {where}", cache=hub_cache(), max_age_days=None)
        if kept is None:
            raise
        return kept
    ledger.keep_listing(f"{repo} {where}", names, cache=hub_cache())
    return names


def remembered() -> dict[str, list[str]]:
    """What `published` was told last, by `repo where`. Asks nobody."""
    return ledger.listings(hub_cache())


def hub_cache() -> Path:
    """Where fetched checkpoints are kept."""
    return Path(os.environ.get("INTERP_HUB_CACHE") or Path.home() / ".cache" / "interp" / "hub")


def cached_folder(ref: CheckpointRef) -> Path | None:
    """The folder of a checkpoint that was fetched before, None otherwise. Asks nobody."""
    source = ref.manifest["source"]
    return None if (found := _cached(source)) is None else found / source.get("subfolder", "")


def place(source: dict[str, Any]) -> str:
    """`repo@revision[/subfolder or file]`: the name of a checkpoint's place on the hub."""
    inside = source.get("subfolder") or source.get("file") or ""
    return f"{source['repo']}@{source.get('revision', 'main')}" + (f"/{inside}" if inside else "")


def _names(repo: str, where: str) -> list[str]:
    what = f"the list of checkpoints in {repo}"
    if where == "revision":
        return listed_revisions(repo, what=what)
    files = [file.name for file in listed_files(repo, None, what=what)]
    if where == "file":
        return files
    return sorted({str(PurePosixPath(name).parent) for name in files if PurePosixPath(name).name == "config.json"})


def _what(ref: CheckpointRef) -> str:
    return f"{format_address(ref)} ({place(ref.manifest['source'])})"


def _describe(ref: CheckpointRef) -> list[Listed]:
    source = ref.manifest["source"]
    return listed_files(source["repo"], source.get("revision", "main"), what=_what(ref))


def _download(ref: CheckpointRef, files: Sequence[Listed]) -> Path:
    """Fetches the files of a revision and compares their digests with what the hub says; returns the revision's
    folder."""
    source = ref.manifest["source"]
    root = _download_all(ref, files)
    weights = [digest(root / name) for name in weight_files([file.name for file in files], source)]
    _compare(ref, ledger.joined(weights), folder_digest(root / source.get("subfolder", "")), folder=root)
    return root


def _download_all(ref: CheckpointRef, files: Sequence[Listed]) -> Path:
    """Fetches files of a revision, each checked: the hub's digest of it, and that it was not cut short before it came
    there."""
    source, root = ref.manifest["source"], Path()
    for file in files:
        what = f"{_what(ref)}, {file.name}"
        path = _download_file(source["repo"], source.get("revision", "main"), file, what=what)
        if file.sha256 is not None and digest(path) != file.sha256:
            sha256 = digest(path)
            path.resolve().unlink()
            raise InputError(f"{what} arrived with the digest {sha256[:12]}…, the hub says {file.sha256[:12]}…")
        if not is_sound(path):
            path.resolve().unlink()
            raise InputError(f"{what} is damaged on the hub: cut short, or not what its name says")
        root = path.parents[len(PurePosixPath(file.name).parts) - 1]
    return root


def _download_file(repo: str, revision: str, file: Listed, *, what: str) -> Path:
    beside = is_in(PurePosixPath(file.name).name, "", f"{BESIDE}|{TOKENIZER_FILES}")
    if beside and file.size > LARGEST_BESIDE:
        raise InputError(f"{what}: {file.size} bytes are no configuration and no tokenizer")
    size = file.size or (LARGEST_BESIDE if beside else None)
    return download(repo, file.name, revision=revision, cache=hub_cache(), size=size, what=what)


def _compare(ref: CheckpointRef, sha256: str, beside: str, *, folder: Path) -> None:
    """Keeps the digests of what was fetched; others than last time behind the same name are an error."""
    name = place(ref.manifest["source"])
    for what, of, now in (("weights", "digests", sha256), ("configuration or tokenizer", "beside", beside)):
        before = ledger.digests(hub_cache(), of=of).get(name)
        if before is not None and before != now:
            ledger.remove_revision(folder)
            raise InputError(
                f"{format_address(ref)}: the {what} behind {name} changed: digest {before[:12]}… before, {now[:12]}… "
                f"now; to accept the new remove the entry from {ledger.path(hub_cache())}"
            )
    ledger.record(name, sha256, beside, cache=hub_cache())


def _cached(source: dict[str, Any]) -> Path | None:
    """The folder of the revision, in this library's cache or the standard one, where all that is needed is whole."""
    from huggingface_hub import constants, try_to_load_from_cache

    inside = source.get("subfolder", "")
    for cache in (hub_cache(), Path(constants.HF_HUB_CACHE)):
        found = try_to_load_from_cache(
            source["repo"],
            str(PurePosixPath(inside) / "config.json"),
            revision=source.get("revision", "main"),
            cache_dir=cache,
        )
        if isinstance(found, str):
            folder = Path(found).parent
            if _all_there(folder, source):
                return folder.parents[len(PurePosixPath(inside).parts) - 1] if inside else folder
    return None


def _all_there(folder: Path, source: dict[str, Any]) -> bool:
    """Whether the weights are complete: every shard of a set, every safetensors file as long as its header says."""
    if source.get("file"):
        return (folder / source["file"]).is_file()
    for kind in WEIGHTS:
        names = [path.name for path in folder.iterdir() if re.fullmatch(kind, path.name)]
        if names:
            n_shards = int(found[1]) if (found := re.search(r"-of-(\d+)\.", names[0])) else 1
            return len(names) == n_shards and all(
                is_whole(folder / name) for name in names if name.endswith(".safetensors")
            )
    return False
