"""Files that are there whole or not at all, and that tell when they are not what was written.

A sealed file carries a sha256 of the rest of itself: JSON in its first line, YAML in a comment on its first line, a
shard of a table in its name. So a file can be copied, moved and checked on its own, and one rename puts it in place
together with its seal. A file without a seal (older versions wrote none, and people write their own) is `unsealed`: it
is read as it is. One whose seal does not fit, or that cannot be parsed, is `damaged`: it is never used.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Literal

from interp.errors import Damaged

State = Literal["sealed", "unsealed", "damaged"]

_JSON = re.compile(rb'\{"seal": "([0-9a-f]{64})",')
_LIST = re.compile(r'\s*(?:\{"seal": "[0-9a-f]{64}",\s*"entries":\s*)?\[\s*')
_YAML = re.compile(rb"# seal: ([0-9a-f]{64})")
_SHARD = re.compile(r"(\w+)-([0-9a-f]{32})\.parquet")
_HEX = b"0123456789abcdef"
ASIDE = "damaged"
"""The folder, beside a damaged file, that it is moved to when it is made again."""
PIECE = 1 << 18
"""Characters of a long list that are read at a time. A choice: some ten units of a plan."""


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file under a temporary name of this thread's own, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names none
        raise
    return path


def write_json(path: Path, data: Mapping[str, Any] | Sequence[Any]) -> Path:
    """A mapping or a list as sealed JSON."""
    return write_whole(path, sealed_json(data))


def write_yaml(path: Path, text: str) -> Path:
    """YAML text, sealed by a comment on its first line."""
    body = b"\n" + text.encode()
    return write_whole(path, b"# seal: " + _sha256(body) + body)


def write_shard(folder: Path, name: str, content: bytes) -> Path:
    """A Parquet file of that name, with its seal behind it."""
    return write_whole(folder / f"{name}-{_shard_seal(name, content)}.parquet", content)


def sealed_json(data: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """The bytes of a mapping as JSON, the seal in the first line; what has no keys to stand beside is there as
    `entries`."""
    named = data if isinstance(data, Mapping) and data.keys() - {"entries"} else {"entries": data}
    rest = {key: value for key, value in named.items() if key != "seal"}
    body = json.dumps(rest, indent=1, sort_keys=True, default=str).removeprefix("{") + "\n"
    return b'{"seal": "' + _sha256(body.encode()) + b'",' + body.encode()


def plain(data: Any) -> Any:
    """Nested data as JSON has it: tuples are lists, and numbers that JSON lacks (NaN, infinities) are null."""
    if isinstance(data, Mapping):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def read_json(path: Path) -> Any:
    """What a JSON file holds, without its seal.

    Raises:
        Damaged: it is not JSON, or not what was written.
        OSError: it is not there, or may not be read.
    """
    content = path.read_bytes()
    if _json_state(content) == "damaged":
        raise damaged(path, content)
    found = json.loads(content)
    if not isinstance(found, dict) or "seal" not in found:
        return found
    del found["seal"]
    return found["entries"] if found.keys() == {"entries"} else found


def read_entries(path: Path) -> Iterator[Any]:
    """The entries of a list in a JSON file, one after the other: what is in memory goes by the greatest of them.

    Raises:
        Damaged: it is not a list, or not what was written; the latter before the first entry.
        OSError: it is not there, or may not be read.
    """
    if state(path) == "damaged":
        raise damaged(path, path.read_bytes())
    parse, gap = json.JSONDecoder().raw_decode, re.compile(r"[\s,]*")
    with path.open(encoding="utf-8") as file:
        text = file.read(PIECE)
        start = _LIST.match(text)
        if start is None:
            raise damaged(path)
        text = text[start.end() :]
        while not text.startswith("]"):
            try:
                entry, end = parse(text)
                end = gap.match(text, end).end()  # type: ignore[union-attr]
                whole = end < len(text)
            except ValueError:
                whole = False
            if whole:
                yield entry
                text = text[end:]
            elif more := file.read(max(PIECE, len(text))):
                text = (text + more).lstrip()
            else:
                raise damaged(path)


def read_yaml_text(path: Path) -> str:
    """The text of a YAML file, without its seal.

    Raises:
        Damaged: it is not YAML, or not what was written.
        OSError: it is not there, or may not be read.
    """
    content = path.read_bytes()
    if _yaml_state(content) == "damaged":
        raise damaged(path)
    return content.partition(b"\n")[2].decode() if _YAML.match(content) else content.decode()


def read_shard(path: Path) -> bytes:
    """The bytes of a Parquet file that are what was written, or that nothing is known of (`unsealed`).

    Raises:
        Damaged: they are not what was written.
        OSError: it is not there, or may not be read.
    """
    content = path.read_bytes()
    if _shard_state(path.name, content) == "damaged":
        raise damaged(path)
    return content


def has_seal(shard: Path) -> bool:
    """Whether a shard carries a seal, fitting or not."""
    return _SHARD.fullmatch(shard.name) is not None


def state(path: Path) -> State:
    """Whether a file is what was written; reads all of it.

    Raises:
        OSError: it is not there, or may not be read.
    """
    if path.suffix == ".json":
        with path.open("rb") as file:  # a plan may be long: not in memory as a whole
            if named := _JSON.fullmatch(file.readline(80).removesuffix(b"\n")):
                rest = file_digest(file, lambda: sha256(b"\n"))  # type: ignore[arg-type]
                return "sealed" if named[1] == rest.hexdigest().encode() else "damaged"
    content = path.read_bytes()
    if path.suffix == ".parquet":
        found = _shard_state(path.name, content)
        return "damaged" if found == "unsealed" and not _opens(content) else found
    return _yaml_state(content) if path.suffix == ".yaml" else _json_state(content)


def seal(path: Path) -> None:
    """Seals an unsealed file: as it is from now on it is known."""
    if path.suffix == ".parquet":
        content = path.read_bytes()
        os.replace(path, path.with_name(f"{path.stem}-{_shard_seal(path.stem, content)}.parquet"))
    elif path.suffix == ".yaml":
        write_yaml(path, path.read_text(encoding="utf-8"))
    else:
        write_json(path, json.loads(path.read_bytes()))


def set_aside(path: Path) -> Path:
    """Moves a file into the folder `damaged` beside it, under a name that is free there; returns where it is."""
    folder = path.parent / ASIDE
    folder.mkdir(exist_ok=True)
    names = (path.name, *(f"{path.name}.{count}" for count in range(1, 10_000)))
    place = next(folder / name for name in names if not (folder / name).exists())
    os.replace(path, place)
    return place


def damaged(path: Path, content: bytes = b"{}") -> Damaged:
    """The error that names a damaged file."""
    try:
        json.loads(content)
    except (ValueError, RecursionError) as error:
        return Damaged(f"{path} is not valid JSON: it is damaged, or was never finished ({error})")
    return Damaged(f"{path} is damaged: it is not what was written")


def _json_state(content: bytes) -> State:
    first, rest = _first_line(content)
    if named := _JSON.fullmatch(first):
        return "sealed" if named[1] == _sha256(rest) else "damaged"
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return "damaged"
    has_one = isinstance(found, dict) and "seal" in found
    return "damaged" if has_one or _was_a_seal(first, 76) else "unsealed"


def _yaml_state(content: bytes) -> State:
    import yaml

    first, rest = _first_line(content)
    if named := _YAML.fullmatch(first):
        return "sealed" if named[1] == _sha256(rest) else "damaged"
    try:
        is_mapping = isinstance(yaml.safe_load(content), dict)
    except (yaml.YAMLError, ValueError, RecursionError):
        return "damaged"
    return "damaged" if not is_mapping or first.startswith(b"# seal") or _was_a_seal(first, 72) else "unsealed"


def _shard_state(name: str, content: bytes) -> State:
    if named := _SHARD.fullmatch(name):
        return "sealed" if named[2] == _shard_seal(named[1], content) else "damaged"
    return "unsealed"


def _shard_seal(name: str, content: bytes) -> str:
    return sha256(name.encode() + b"\n" + content).hexdigest()[:32]


def _opens(content: bytes) -> bool:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        parquet.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except (OSError, ValueError):
        return False
    return True


def _first_line(content: bytes) -> tuple[bytes, memoryview]:
    """The first line and what follows it, from the line's end on, not copied."""
    end = content.find(b"\n")
    end = len(content) if end < 0 else end
    return content[:end], memoryview(content)[end:]


def _sha256(content: bytes | memoryview) -> bytes:
    return sha256(content).hexdigest().encode()


def _was_a_seal(first: bytes, length: int) -> bool:
    """Whether a first line is a seal but for a few characters."""
    return len(first) == length and sum(character in _HEX for character in first) >= 60
