"""What a checkpoint is, beyond its weights: all of it that can change a number or a row made from it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from interp.families.address import format_address
from interp.families.weights import folder_digest
from interp.types import CheckpointRef


@cache
def identity(ref: CheckpointRef) -> tuple[str | int | None, ...]:
    """Address, digest of the weights, digest of configuration and tokenizer, tokens seen and planned steps; by name
    where there is no file to take a digest of yet. The files' state is that of the first call (`cache_clear`)."""
    source = ref.manifest.get("source", {})
    named = source.get("tokenizer")
    beside = folder_digest(ref.path) if ref.path is not None else ref.manifest.get("beside")
    return (
        format_address(ref),
        ref.sha256,
        beside,
        named and tokenizer_digest(named),
        ref.tokens,
        ref.manifest.get("budget"),
    )


def tokenizer_digest(named: str) -> str:
    """The same of a tokenizer that a card names: a repository on a hub, or a folder."""
    if Path(named).is_dir():
        return folder_digest(Path(named))
    from interp.families.asking import Unreachable
    from interp.families.hub import tokenizer_folder

    try:
        return folder_digest(tokenizer_folder(named))
    except Unreachable:
        return named
