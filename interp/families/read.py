"""Reading one checkpoint, wherever it is: its weights under the plain module's own names, and its configuration.

`manifest["source"]["kind"]` says how it is kept: absent for this library's own folders, "transformers" for a folder
that Hugging Face wrote, "state_dict" for one safetensors file beside a config.json, "legacy" for a `.pth` of old
TransformerLens, "hub" for a revision of a repository.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.errors import Damaged, InputError
from interp.families.address import format_address
from interp.families.published import plain_names
from interp.families.store import CONFIG, WEIGHTS, read_json
from interp.families.weights import digest, read_safetensors
from interp.types import CheckpointRef

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedTokenizerBase


def read_weights(ref: CheckpointRef) -> dict[str, Tensor]:
    """The weights of a checkpoint under the plain module's own `state_dict` names, in the dtype they are stored in.

    Raises:
        InputError: not on this machine and not to be had; missing, truncated, not what the manifest's digest says;
            names that the architecture does not have.
    """
    with on_disk(ref) as folder:
        return _read(ref, folder)


def _read(ref: CheckpointRef, folder: Path) -> dict[str, Tensor]:
    layout, file = _layout(ref), ref.manifest.get("source", {}).get("file")
    if layout == "transformers":
        from interp.families.pretrained import read_pretrained

        return read_pretrained(folder)
    if layout == "legacy":
        from interp.families.legacy import read_legacy

        return read_legacy(folder / file, read_config(ref), step=ref.manifest["source"].get("step"))
    path = folder / (file or WEIGHTS)
    weights = read_safetensors(path, sha256=ref.sha256 if layout is None else None)
    return weights if layout is None else plain_names(weights, where=path)


def read_config(ref: CheckpointRef) -> dict[str, Any]:
    """What config.json says, with `architecture`: enough to build the model.

    Raises:
        InputError: no configuration, or one with an attribute that nothing here understands; Damaged: another than the
            manifest says.
    """
    from interp.families.legacy import native_config
    from interp.families.pretrained import is_transformers, understood

    with on_disk(ref) as folder:
        path, known = folder / CONFIG, ref.manifest.get("files", {}).get(CONFIG)
        if known is not None and path.is_file() and digest(path) != known:
            raise Damaged(f"{path} is not the file that its manifest describes (sha256 differs); make it again")
        config = read_json(path)
        old = _layout(ref) == "legacy" and not is_transformers(config)
        return (native_config if old else understood)(config, where=str(path))


def read_tokenizer(ref: CheckpointRef) -> PreTrainedTokenizerBase | None:
    """The tokenizer that belongs to a checkpoint: the one its card names, else the one beside the weights, else None.

    Raises:
        InputError: there is one, but it cannot be loaded (or asks for code of its own, which is not run here).
    """
    named = ref.manifest.get("source", {}).get("tokenizer")
    if named is not None:
        from interp.families.hub import tokenizer_folder

        return _tokenizer(ref, Path(named) if Path(named).is_dir() else tokenizer_folder(named))
    with on_disk(ref) as folder:
        here = any(folder.glob("tokenizer*")) or any(folder.glob("vocab*"))
        return _tokenizer(ref, folder) if here else None


def _tokenizer(ref: CheckpointRef, where: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(where, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # what a damaged file makes of the readers below is of any kind
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{format_address(ref)}: the tokenizer at {where} cannot be loaded: {why}") from error


def _layout(ref: CheckpointRef) -> str | None:
    """How the files are written: None as this library does, "transformers", "state_dict" or "legacy"."""
    source = ref.manifest.get("source", {})
    return source.get("layout") if source.get("kind") == "hub" else source.get("kind")


def fresh_module(ref: CheckpointRef) -> Module:
    """A new module with the weights of a checkpoint, by the road that its writer documents rather than by a swap."""
    if _layout(ref) == "transformers":
        from interp.families.pretrained import load_pretrained

        with on_disk(ref) as folder:
            return load_pretrained(folder)
    from interp.models import build

    module = build(read_config(ref))
    weights = read_weights(ref)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:300]
        raise InputError(f"{format_address(ref)}: the weights do not fit {CONFIG}: {why}") from error
    return module.eval()


def source_kind(ref: CheckpointRef) -> str | None:
    """How the checkpoint is kept, None for this library's own folders."""
    return ref.manifest.get("source", {}).get("kind")


@contextmanager
def on_disk(ref: CheckpointRef) -> Iterator[Path]:
    """The folder on this machine that holds the checkpoint, while the block reads it; a hub's is fetched into the cache
    first."""
    if ref.path is not None:
        yield ref.path
        return
    if source_kind(ref) == "hub":
        from interp.families import hub

        with hub.on_disk(ref) as folder:
            yield folder
        return
    recipe = ref.manifest.get("recipe_file")
    how = f"run `interp train {recipe}` first" if recipe else "it has no folder"
    raise InputError(f"{format_address(ref)} is not on this machine: {how}")
