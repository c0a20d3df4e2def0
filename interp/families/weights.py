"""A checkpoint's weight file: is it whole, what is its digest, what does it hold."""

from __future__ import annotations

import hashlib
import json
import math
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from interp.errors import Damaged, InputError

if TYPE_CHECKING:
    from torch import Tensor


TOKENIZER_FILES = r"tokenizer.*|vocab.*|merges\.txt|special_tokens_map\.json|added_tokens\.json|spiece\.model"
"""Names of the files that a tokenizer is kept in."""

SMALL = 2**20
"""Bytes that take about a millisecond to digest: below, it is not worth trusting the time of change."""


def is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says. Reads the header only."""
    try:
        with path.open("rb") as file:
            n_header = int.from_bytes(file.read(8), "little")
            if not 0 < n_header <= path.stat().st_size - 8:
                return False
            header = json.loads(file.read(n_header))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            return path.stat().st_size == 8 + n_header + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return False


def digest(path: Path) -> str:
    """sha256 of a file, in hexadecimal; of a large one computed once while its size and time of change stay the same."""
    known = path.stat()
    if known.st_size < SMALL:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return _digest(path, known.st_size, known.st_mtime_ns)


@cache
def _digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """One digest of the configuration and the tokenizer's files in a folder."""
    wanted = re.compile(rf"config\.json|{TOKENIZER_FILES}")
    found = sorted(path for path in folder.iterdir() if wanted.fullmatch(path.name) and path.is_file())
    return hashlib.sha256("".join(f"{path.name} {digest(path)}\n" for path in found).encode()).hexdigest()


def n_values(path: Path) -> int:
    """How many numbers a safetensors file holds; 0 for another or damaged file. Reads the header only."""
    if not is_whole(path):
        return 0
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def read_safetensors(path: Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of one safetensors file, by name.

    Raises:
        InputError: the file is missing, truncated, not safetensors, or has another digest than `sha256`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise InputError(f"no weights at {path}")
    if not is_whole(path):
        raise Damaged(f"{path} is truncated or damaged; remove {path.parent} and make it again")
    content = path.read_bytes()
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise Damaged(f"{path} is not the file that its manifest describes (sha256 differs); make it again")
    try:
        return load(content)
    except SafetensorError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
