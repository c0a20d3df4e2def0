"""Asking a hub, within bounds: every question has a few tries, every answer a largest size and a longest time.

What a hub says is taken as data from a stranger: an answer that is not of the form asked for is an InputError.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from interp.errors import InputError

PAUSES = (1.0, 4.0, 10.0)
"""Seconds to wait before another try where the hub does not answer, or breaks off."""

LARGEST_ANSWER = 2**26
"""Bytes of a list of files or revisions. The longest of the listed families are a few MB."""

ANSWER_SECONDS = 120.0
"""For such an answer, and for any file beside what its size allows (`SLOWEST`). A choice."""

SLOWEST = 20_000
"""Bytes a second below which a transfer is given up: 500 MB in seven hours. A choice."""

LARGEST_FILE = 2**37
"""Bytes of a file whose size the hub does not tell (137 GB). A choice."""

_Answer = TypeVar("_Answer")


class Unreachable(InputError):
    """The hub does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A file of a revision as the hub lists it; sha256 only of large ones."""

    name: str
    size: int
    sha256: str | None


def listed_files(repo: str, revision: str | None, *, what: str) -> list[Listed]:
    """The files of a revision (None: the default one) with their sizes and digests.

    Raises:
        InputError: no such repository or revision, no access, or an answer of another form; Unreachable: no answer.
    """
    where = f"/revision/{quote(revision, safe='')}" if revision is not None else ""
    told = patiently(lambda: _ask(f"{repo}{where}", {"blobs": "true"}, what=what), what=what)
    try:
        return [_listed(entry) for entry in told["siblings"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{what}: the hub's answer is not a list of files") from error


def listed_revisions(repo: str, *, what: str) -> list[str]:
    """The names of the branches and tags of a repository.

    Raises:
        InputError: as `listed_files`.
    """
    told = patiently(lambda: _ask(f"{repo}/refs", {}, what=what), what=what)
    try:
        names = [entry["name"] for kind in ("branches", "tags") for entry in told[kind]]
    except (KeyError, TypeError) as error:
        raise InputError(f"{what}: the hub's answer is not a list of revisions") from error
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{what}: the hub's answer is not a list of revisions")
    return names


def download(repo: str, name: str, *, revision: str, cache: Path, size: int | None, what: str) -> Path:
    """A file of a revision, fetched into a cache where it is not there yet; `size`: its bytes, as the hub says.

    Raises:
        InputError: as `listed_files`; a transfer that is longer than the hub said, or too slow.
    """
    from huggingface_hub import hf_hub_download

    bar = _bounded(LARGEST_FILE if size is None else size, what=what)

    def fetch() -> str:
        return hf_hub_download(
            repo, name, revision=revision, cache_dir=cache, endpoint=endpoint(), tqdm_class=bar, dry_run=False
        )

    return Path(patiently(fetch, what=what))


def endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")


def patiently(call: Callable[[], _Answer], *, what: str) -> _Answer:
    """The answer of the hub, asked again a few times where it does not answer or breaks off.

    Raises:
        InputError: the hub says no; Unreachable: nothing is heard after all tries.
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


def _ask(path: str, params: Mapping[str, str], *, what: str) -> Any:
    """The JSON that the hub's interface answers with."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    url, until = f"{endpoint() or constants.ENDPOINT}/api/models/{path}", time.monotonic() + ANSWER_SECONDS
    with get_session().stream("GET", url, params=dict(params), headers=build_hf_headers(), timeout=30) as response:
        if response.is_error:
            response.read()
        hf_raise_for_status(response)
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > LARGEST_ANSWER or time.monotonic() > until:
                raise InputError(f"{what}: the hub's answer does not end ({len(content)} bytes were read)")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what}: the hub's answer is not JSON") from error


def _listed(entry: Mapping[str, Any]) -> Listed:
    name, size, lfs = entry["rfilename"], entry.get("size"), entry.get("lfs")
    if not isinstance(name, str) or not isinstance(size, int | None) or (size or 0) < 0:
        raise ValueError
    sha256 = None if lfs is None else lfs["sha256"]
    if not isinstance(sha256, str | None):
        raise ValueError
    return Listed(name=name, size=size or 0, sha256=sha256)


def _bounded(size: int, *, what: str) -> Any:
    """A progress bar (which a transfer tells of every piece that arrives) that ends a transfer which is too long or too
    slow."""
    from huggingface_hub.utils import tqdm

    until = time.monotonic() + ANSWER_SECONDS + size / SLOWEST
    arrived = 0

    class Bounded(tqdm):
        def update(self, n: float | None = 1) -> bool | None:
            nonlocal arrived
            arrived += int(n or 0)
            if arrived > size:
                raise InputError(f"{what}: more bytes arrive than the hub says it has ({size})")
            if time.monotonic() > until:
                raise InputError(f"{what}: the transfer is slower than {SLOWEST} bytes a second; given up")
            return super().update(n)

    return Bounded


def _first_line(error: Exception | None) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
