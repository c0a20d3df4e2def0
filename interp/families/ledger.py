"""What is known of the hub's checkpoints: their digests, when they were last used, who is fetching or reading them now,
and which names a repository has.

One JSON file in the cache folder, rewritten whole under a lock, so that parallel processes do not lose each other's
entries.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from interp.errors import InputError

BUDGET_VARIABLE = "INTERP_DISK_BUDGET_GB"
POLL = 0.1
"""Seconds between two looks at whether others have made room."""

LONGEST_WAIT = 6 * 3600.0
"""Seconds to wait for room, and to believe that a process on another machine still reads or fetches. A choice."""

_limit: float | None = None


def limit_disk(gigabytes: float | None) -> None:
    """The budget of this process in GB (1e9 bytes); None leaves it to $INTERP_DISK_BUDGET_GB."""
    global _limit
    _limit = gigabytes


def path(cache: Path) -> Path:
    """The ledger's file."""
    return cache / "interp-ledger.json"


def digests(cache: Path, *, of: str = "digests") -> dict[str, str | None]:
    """The digest of the weights at every known place, `repo@revision[/…]`; of="beside": that of what lies beside them."""
    return dict(_read(cache)[of])


def record(name: str, sha256: str | None, beside: str | None, *, cache: Path) -> None:
    """Keeps the digests of the weights at a place and of what lies beside them; None forgets one."""

    def enter(kept: dict[str, Any]) -> None:
        for of, found in (("digests", sha256), ("beside", beside)):
            kept[of].pop(name, None)
            if found is not None:
                kept[of][name] = found

    _change(cache, enter)


def joined(found: Sequence[str]) -> str:
    """One digest for several files: that of the only one, else that of all digests in order."""
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def listing(name: str, *, cache: Path, max_age_days: float | None) -> list[str] | None:
    """The names kept of a repository, None where there are none or they are older than `max_age_days`."""
    kept = _read(cache)["listings"].get(name)
    if kept is None or (max_age_days is not None and time.time() - kept["at"] > max_age_days * 86400):
        return None
    return list(kept["names"])


def listings(cache: Path) -> dict[str, list[str]]:
    """All names that are kept, however old."""
    return {name: list(kept["names"]) for name, kept in _read(cache)["listings"].items()}


def keep_listing(name: str, names: Sequence[str], *, cache: Path) -> None:
    """Keeps the names that a repository has."""
    _change(cache, lambda kept: kept["listings"].update({name: {"at": time.time(), "names": list(names)}}))


@contextmanager
def in_use(folder: Path, *, cache: Path) -> Iterator[None]:
    """Notes that a revision's folder was used now, and keeps it from being removed while the block reads it."""
    if not folder.is_relative_to(cache):
        yield
        return
    name = str(folder.relative_to(cache))

    def enter(kept: dict[str, Any]) -> None:
        kept["used"][name] = time.time()

    with _holding(cache, {"folder": name, "bytes": 0}, enter):
        yield


@contextmanager
def room_for(n_bytes: int, *, cache: Path) -> Iterator[None]:
    """Room in the budget for `n_bytes` more, which the block fetches; nothing to do where no budget is set.

    The longest unused revisions are removed, except those in use; while others fetch or read what could be removed
    later, they are waited for.

    Raises:
        InputError: the budget is no number, or smaller than what is to be fetched.
    """
    budget = _budget()
    if n_bytes > budget:
        raise InputError(
            f"a checkpoint of {n_bytes / 1e9:.2f} GB does not fit in the disk budget of {budget / 1e9:g} GB "
            f"(disk_budget_gb of the experiment, or {BUDGET_VARIABLE})"
        )
    with _holding(cache, {"folder": "", "bytes": n_bytes}, lambda kept: _evict(kept, budget - n_bytes, cache)):
        yield


def _budget() -> float:
    """In bytes; infinite where there is none."""
    asked = _limit if _limit is not None else os.environ.get(BUDGET_VARIABLE) or "inf"
    try:
        return float(asked) * 1e9
    except ValueError as error:
        raise InputError(f"{BUDGET_VARIABLE} is {asked!r}, expected a number of gigabytes") from error


@contextmanager
def _holding(cache: Path, hold: dict[str, Any], enter: Callable[[dict[str, Any]], bool | None]) -> Iterator[None]:
    """Keeps an entry among the holds while the block runs; `enter` changes the ledger with it, again and again while it
    answers False."""
    name = uuid.uuid4().hex
    entered = False

    def attempt(kept: dict[str, Any]) -> None:
        nonlocal entered
        entered = enter(kept) is not False
        if entered:
            kept["holds"][name] = {**hold, "host": socket.gethostname(), "process": os.getpid(), "at": time.time()}

    until = time.monotonic() + LONGEST_WAIT
    _change(cache, attempt)
    while not entered:
        if time.monotonic() > until:
            raise InputError(f"no room came free in {cache} in {LONGEST_WAIT / 3600:g} hours: others hold it")
        time.sleep(POLL)
        _change(cache, attempt)
    try:
        yield
    finally:
        _change(cache, lambda kept: kept["holds"].pop(name, None))


def _evict(kept: dict[str, Any], limit: float, cache: Path) -> bool:
    """Removes the longest unused revisions until what is there and what is being fetched is at most `limit` bytes;
    whether that could be done now."""
    if limit == float("inf"):
        return True
    holds = kept["holds"] = {name: hold for name, hold in kept["holds"].items() if _lives(hold)}
    coming = sum(hold["bytes"] for hold in holds.values())
    if not coming:  # what was left half-way
        for part in cache.glob("models--*/blobs/*.incomplete"):
            if _size(cache) > limit:
                part.unlink()
    held = {hold["folder"] for hold in holds.values()}
    used: dict[str, float] = kept["used"]
    there = {str(folder.relative_to(cache)) for folder in cache.glob("models--*/snapshots/*")}
    for folder in sorted((set(used) if coming else there) - held, key=lambda name: used.get(name, 0.0)):
        if _size(cache) + coming <= limit:
            return True
        remove_revision(cache / folder)
        used.pop(folder, None)
    return _size(cache) + coming <= limit or not holds


def _lives(hold: dict[str, Any]) -> bool:
    """Whether the process that holds something still runs; on another machine it is taken to, for as long as anybody
    waits."""
    if hold["host"] != socket.gethostname():
        return time.time() - hold.get("at", 0) < LONGEST_WAIT
    try:
        os.kill(hold["process"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove_revision(folder: Path) -> None:
    """Removes a snapshot, the blobs that no other snapshot of its repository points to, and the names that point to
    it."""
    repo = folder.parents[1]
    blobs = {link.resolve() for link in folder.rglob("*") if link.is_file()}
    shutil.rmtree(folder, ignore_errors=True)
    still = {link.resolve() for link in repo.glob("snapshots/**/*") if link.is_file()}
    for blob in blobs - still:
        blob.unlink(missing_ok=True)
    for name in repo.glob("refs/**/*"):
        if name.is_file() and name.read_text().strip() == folder.name:
            name.unlink()


def _size(cache: Path) -> int:
    return sum(
        file.lstat().st_size for file in cache.glob("models--*/**/*") if file.is_file() and not file.is_symlink()
    )


def _read(cache: Path) -> dict[str, Any]:
    kept: dict[str, Any] = {"digests": {}, "beside": {}, "listings": {}, "used": {}, "holds": {}}
    if path(cache).is_file():
        try:
            kept.update(json.loads(path(cache).read_text(encoding="utf-8")))
        except ValueError as error:
            raise InputError(f"{path(cache)} is damaged ({error}); remove it") from error
    return kept


def _change(cache: Path, change: Callable[[dict[str, Any]], object]) -> None:
    with _locked(cache):
        kept = _read(cache)
        change(kept)
        temporary = path(cache).with_suffix(".partial")
        temporary.write_text(json.dumps(kept, indent=1, sort_keys=True), encoding="utf-8")
        os.replace(temporary, path(cache))


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "interp-ledger.lock"):
        yield
