"""Which files of a repository make up a checkpoint, and whether one that arrived is sound."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from interp.errors import InputError
from interp.families import ledger
from interp.families.asking import Listed
from interp.families.weights import TOKENIZER_FILES, is_whole

WEIGHTS = (r"model(-\d+-of-\d+)?\.safetensors", r"pytorch_model(-\d+-of-\d+)?\.bin")
BESIDE = r"config\.json|generation_config\.json|.*\.index\.json"


def wanted(files: Sequence[Listed], source: dict[str, Any]) -> list[Listed]:
    """The files to fetch: weights as safetensors where there are any, else as .bin; the configuration; the
    tokenizer."""
    names = [file.name for file in files]
    if source.get("file"):
        chosen = [name for name in (source["file"], "config.json") if name in names]
    else:
        weights = weight_files(names, source)
        beside = BESIDE if source.get("tokenizer") else f"{BESIDE}|{TOKENIZER_FILES}"
        folder = source.get("subfolder", "")
        others = [name for name in names if is_in(name, folder, beside)]
        if not weights or str(PurePosixPath(folder) / "config.json") not in others:
            raise InputError(f"{source['repo']} has no weights with a config.json that transformers can load")
        chosen = weights + others
    known = {file.name: file for file in files}
    return [known[name] for name in chosen]


def weight_files(names: Sequence[str], source: dict[str, Any]) -> list[str]:
    if source.get("file"):
        return [source["file"]]
    kinds = ([name for name in names if is_in(name, source.get("subfolder", ""), kind)] for kind in WEIGHTS)
    return sorted(next(filter(None, kinds), []))


def is_in(name: str, folder: str, pattern: str) -> bool:
    path = PurePosixPath(name)
    return str(path.parent) == str(PurePosixPath(folder)) and re.fullmatch(pattern, path.name) is not None


def announced(files: Sequence[Listed], source: dict[str, Any]) -> str | None:
    names = weight_files([file.name for file in files], source)
    found = [file.sha256 for name in names for file in files if file.name == name]
    return ledger.joined([value for value in found if value]) if found and all(found) else None


def is_sound(path: Path) -> bool:
    """Whether a file is as long as it says itself, where it does, or parses."""
    if path.suffix == ".safetensors":
        return is_whole(path)
    if path.suffix == ".json":
        try:
            json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return False
    with path.open("rb") as file:
        is_zip = path.suffix in (".bin", ".pth") and file.read(2) == b"PK"
    return not is_zip or zipfile.is_zipfile(path)
