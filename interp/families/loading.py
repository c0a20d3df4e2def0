"""From a checkpoint to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from interp.errors import InputError
from interp.families.address import FORM
from interp.families.folder import folder_checkpoints
from interp.families.hub_ids import revision_ref, split_id
from interp.families.lookup import families, resolve
from interp.families.read import fresh_module, read_config, read_tokenizer
from interp.types import CheckpointRef

if TYPE_CHECKING:
    import torch

    from interp.models import Model


def load(
    source: CheckpointRef | str | Path, *, device: str | torch.device = "cpu", dtype: str | torch.dtype = "float32"
) -> Model:
    """A model from a checkpoint: its reference, its address (`family:size@step100`), its folder, or a hub's repository
    (`EleutherAI/pythia-160m@step1000`; without a revision: `main`). What is on a hub is fetched first.

    Raises:
        InputError: no such checkpoint, folder or repository, a file that is missing or damaged, weights that do not fit config.json.
    """
    from interp.models import wrap
    from interp.models.building import torch_dtype

    ref, chosen = reference(source), torch_dtype(dtype)
    module = fresh_module(ref).to(device=device, dtype=chosen)
    model = wrap(module, read_tokenizer(ref), config=read_config(ref))
    model.ref = ref
    return model


def reference(source: CheckpointRef | str | Path) -> CheckpointRef:
    """The checkpoint that a reference, a folder, an address or a repository's name stands for."""
    if isinstance(source, CheckpointRef):
        return source
    if not isinstance(source, (str, Path)):
        raise InputError(
            f"cannot load a {type(source).__name__}; expected a checkpoint's reference, its address, its folder or a hub's name"
        )
    if not Path(source).is_dir():
        if isinstance(source, str) and (":" in source or source.partition("@")[0] in families()):
            return resolve(source)
        named = split_id(source) if isinstance(source, str) else None
        if named is None or Path(named[0]).parent.is_dir():  # a path into a folder that is here means that folder
            raise InputError(
                f"there is no folder {source}; expected a folder, an address {FORM}, or a hub's org/name[@revision]"
            )
        return revision_ref(*named)
    found = folder_checkpoints(Path(source))
    if len(found) > 1:
        raise InputError(f"{source} holds {len(found)} checkpoints; name the folder of one")
    return found[0]
