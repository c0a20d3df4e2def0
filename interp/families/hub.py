"""Checkpoints on the Hugging Face hub: what is there, fetching one, and keeping the fetched ones within a disk budget.

Files are fetched with `huggingface_hub` (which resumes a transfer that breaks off, and honours HF_ENDPOINT,
HF_HUB_OFFLINE and HF_HUB_DOWNLOAD_TIMEOUT) into $INTERP_HUB_CACHE, by default ~/.cache/interp/hub; what the standard
cache already holds is used from there. $INTERP_DISK_BUDGET_GB, or an experiment's disk_budget_gb, limits the cache of
this library: the longest unused revisions go first, and what somebody reads stays.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from interp.errors import InputError
from interp.families import ledger
from interp.families.address import format_address
from interp.families.weights import digest, is_whole
from interp.types import CheckpointRef

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

PAUSES = (1.0, 4.0, 10.0)
"""Seconds to wait before another try where the hub does not answer, or breaks off."""

_WEIGHTS = (r"model(-\d+-of-\d+)?\.safetensors", r"pytorch_model(-\d+-of-\d+)?\.bin")
_BESIDE = r"config\.json|generation_config\.json|.*\.index\.json"
_TOKENIZER = r"tokenizer.*|vocab.*|merges\.txt|special_tokens_map\.json|added_tokens\.json"
_Answer = TypeVar("_Answer")


class Unreachable(InputError):
    """The hub does not answer."""


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
    while True:
        with ledger.in_use(found, cache=hub_cache()):
            if _cached(source) == found:
                yield found / source.get("subfolder", "")
                return
        found = _fetch(ref)  # another process made room before this one began to read


def _fetch(ref: CheckpointRef) -> Path:
    info = _describe(ref)
    files = _wanted(info, ref.manifest["source"])
    with ledger.room_for(sum(_size(info, name) for name in files), cache=hub_cache()):
        return _download(ref, info, files)


def pinned(refs: Sequence[CheckpointRef]) -> list[CheckpointRef]:
    """The references with the digests of their weights. Where they are not known the hub is asked; what it keeps no
    digest of is fetched.

    The digest of several files is that of their digests. `sha256` stays None where a checkpoint is neither on the hub
    nor on this machine, or the hub cannot be reached.
    """
    known = ledger.digests(hub_cache())
    found, reachable = [], True
    for ref in refs:
        if ref.sha256 is None and ref.manifest.get("source", {}).get("kind") == "hub":
            name = place(ref.manifest["source"])
            if name not in known:
                try:
                    known[name] = _digest(ref, ask=reachable)
                except Unreachable:
                    known[name], reachable = None, False
                ledger.record(name, known[name], cache=hub_cache())
            ref = replace(ref, sha256=known[name])
        found.append(ref)
    return found


def _digest(ref: CheckpointRef, *, ask: bool) -> str | None:
    """The digest of a checkpoint's weights: that of the files, where the hub tells none."""
    source = ref.manifest["source"]
    if cached_folder(ref) is None:
        if not ask:
            return None
        try:
            announced = _announced(_describe(ref), source)
            if announced is not None:
                return announced
        except Unreachable:
            raise
        except InputError:
            return None
    with on_disk(ref) as folder:
        names = _weight_files([path.name for path in folder.iterdir()], {**source, "subfolder": ""})
        return ledger.joined([digest(folder / name) for name in names])


def published(repo: str, where: str) -> list[str]:
    """The names that a repository has of a kind: its branches and tags ("revision"), its folders or its files.

    Asked once a day; the answer is kept for when there is no connection.
    """
    kept = ledger.listing(f"{repo} {where}", cache=hub_cache(), max_age_days=1)
    if kept is not None:
        return kept
    try:
        names = _patiently(lambda: _names(repo, where), what=f"the list of checkpoints in {repo}")
    except InputError:
        kept = ledger.listing(f"{repo} {where}", cache=hub_cache(), max_age_days=None)
        if kept is None:
            raise
        return kept
    ledger.keep_listing(f"{repo} {where}", names, cache=hub_cache())
    return names


def hub_cache() -> Path:
    """Where fetched checkpoints are kept."""
    return Path(os.environ.get("INTERP_HUB_CACHE") or Path.home() / ".cache" / "interp" / "hub")


def cached_folder(ref: CheckpointRef) -> Path | None:
    """The folder of a checkpoint that was fetched before, None otherwise. Asks nobody."""
    found = _cached(ref.manifest["source"])
    return None if found is None else found / ref.manifest["source"].get("subfolder", "")


def place(source: dict[str, Any]) -> str:
    """`repo@revision[/subfolder or file]`: the name of a checkpoint's place on the hub."""
    inside = source.get("subfolder") or source.get("file") or ""
    return f"{source['repo']}@{source.get('revision', 'main')}" + (f"/{inside}" if inside else "")


def _api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=_endpoint())


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")


def _names(repo: str, where: str) -> list[str]:
    if where == "revision":
        refs = _api().list_repo_refs(repo)
        return [ref.name for ref in [*refs.branches, *refs.tags]]
    files = [entry.rfilename for entry in _api().model_info(repo).siblings or []]
    if where == "file":
        return files
    return sorted({str(PurePosixPath(name).parent) for name in files if PurePosixPath(name).name == "config.json"})


def _describe(ref: CheckpointRef) -> ModelInfo:
    """The files of a revision with their sizes and digests."""
    source = ref.manifest["source"]
    return _patiently(
        lambda: _api().model_info(source["repo"], revision=source.get("revision", "main"), files_metadata=True),
        what=f"{format_address(ref)} ({place(source)})",
    )


def _wanted(info: ModelInfo, source: dict[str, Any]) -> list[str]:
    """The files to fetch: weights as safetensors where there are any, else as .bin; the configuration; the
    tokenizer."""
    names = [entry.rfilename for entry in info.siblings or []]
    if source.get("file"):
        return [name for name in (source["file"], "config.json") if name in names]
    weights = _weight_files(names, source)
    beside = _BESIDE if source.get("tokenizer") else f"{_BESIDE}|{_TOKENIZER}"
    folder = source.get("subfolder", "")
    others = [name for name in names if _is(name, folder, beside)]
    if not weights or str(PurePosixPath(folder) / "config.json") not in others:
        raise InputError(f"{place(source)} has no weights with a config.json that transformers can load")
    return weights + others


def _weight_files(names: Sequence[str], source: dict[str, Any]) -> list[str]:
    if source.get("file"):
        return [source["file"]]
    kinds = ([name for name in names if _is(name, source.get("subfolder", ""), kind)] for kind in _WEIGHTS)
    return sorted(next(filter(None, kinds), []))


def _is(name: str, folder: str, pattern: str) -> bool:
    path = PurePosixPath(name)
    return str(path.parent) == str(PurePosixPath(folder)) and re.fullmatch(pattern, path.name) is not None


def _size(info: ModelInfo, name: str) -> int:
    return next((entry.size or 0 for entry in info.siblings or [] if entry.rfilename == name), 0)


def _sha256(info: ModelInfo, name: str) -> str | None:
    """The digest that the hub keeps of a large file."""
    entry = next((entry for entry in info.siblings or [] if entry.rfilename == name), None)
    return entry.lfs.sha256 if entry is not None and entry.lfs is not None else None


def _announced(info: ModelInfo, source: dict[str, Any]) -> str | None:
    files = _weight_files([entry.rfilename for entry in info.siblings or []], source)
    found = [_sha256(info, name) for name in files]
    return ledger.joined([value for value in found if value]) if found and all(found) else None


def _download(ref: CheckpointRef, info: ModelInfo, files: Sequence[str]) -> Path:
    """Fetches the files of a revision and compares their digests with what the hub says; returns the revision's
    folder."""
    source = ref.manifest["source"]
    what = f"{format_address(ref)} ({place(source)})"
    root, found = Path(), []
    for name in files:
        path = _patiently(partial(_download_file, source, name), what=f"{what}, {name}")
        root = Path(path.parents[len(PurePosixPath(name).parts) - 1])
        if name in _weight_files(files, source):
            sha256, announced = digest(path), _sha256(info, name)
            if announced is not None and sha256 != announced:
                path.resolve().unlink()
                raise InputError(
                    f"{what}: {name} arrived with the digest {sha256[:12]}…, the hub says {announced[:12]}…"
                )
            found.append(sha256)
    _compare(ref, ledger.joined(found), folder=root)
    return root


def _download_file(source: dict[str, Any], name: str) -> Path:
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(
        source["repo"], name, revision=source.get("revision", "main"), cache_dir=hub_cache(), endpoint=_endpoint()
    )
    return Path(path)


def _compare(ref: CheckpointRef, sha256: str, *, folder: Path) -> None:
    """Keeps the digest of what was fetched; other weights than last time behind the same name are an error."""
    name = place(ref.manifest["source"])
    before = ledger.digests(hub_cache()).get(name)
    if before is not None and before != sha256:
        ledger.remove_revision(folder)
        raise InputError(
            f"{format_address(ref)}: the weights behind {name} changed: digest {before[:12]}… before, {sha256[:12]}… "
            f"now; to accept the new ones remove the entry from {ledger.path(hub_cache())}"
        )
    ledger.record(name, sha256, cache=hub_cache())


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
    for kind in _WEIGHTS:
        names = [path.name for path in folder.iterdir() if re.fullmatch(kind, path.name)]
        if names:
            n_shards = int(found[1]) if (found := re.search(r"-of-(\d+)\.", names[0])) else 1
            return len(names) == n_shards and all(
                is_whole(folder / name) for name in names if name.endswith(".safetensors")
            )
    return False


def _patiently(call: Callable[[], _Answer], *, what: str) -> _Answer:
    """The answer of the hub, asked again a few times where it does not answer or breaks off.

    Raises:
        InputError: the hub says no, or nothing is heard after all tries.
    """
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    transport_error: Any = HfHubHTTPError.__bases__[0]  # httpx's in one version of huggingface_hub, httpx2's in another
    last: Exception | None = None
    for pause in (*PAUSES, None):
        try:
            return call()
        except GatedRepoError as error:
            raise InputError(f"{what}: access has to be asked for on the hub") from error
        except RepositoryNotFoundError as error:
            raise InputError(f"{what}: the hub has no such repository") from error
        except RevisionNotFoundError as error:
            raise InputError(f"{what}: the hub has no such revision") from error
        except EntryNotFoundError as error:
            if not isinstance(error, OSError) or getattr(error, "response", None) is not None:
                raise InputError(f"{what}: the hub has no such file") from error
            last = error
        except (OSError, RuntimeError, transport_error) as error:
            last = error
        if pause is not None:
            time.sleep(pause)
    raise Unreachable(f"{what}: the hub could not be reached, and no cache has it ({_first_line(last)})") from last


def _first_line(error: Exception | None) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
