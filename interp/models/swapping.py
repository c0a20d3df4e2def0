"""Other weights in a module's own tensors, in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from interp.errors import InputError, nearest
from interp.models.state import state_of

if TYPE_CHECKING:
    from torch import Tensor

    from interp.models.state import Holder


def copy_into(model: Holder, state_dict: Mapping[str, Tensor]) -> None:
    """Copies every tensor, or none: see `Model.swap`."""
    own, shared = own_tensors(model)
    targets, sources = [], []
    for name, value in state_dict.items():
        target = own.get(name)
        if target is None:
            raise InputError(f"these weights have {name!r}, which the model has not{nearest(name, own)}")
        if target.shape != value.shape or target.is_floating_point() != value.is_floating_point() or target.is_meta:
            raise _misfit(name, target, value)
        targets.append(target.detach())
        sources.append(value)
    for names in shared:
        first, *others = [name for name in names if name in state_dict] or [""]
        for other in others:
            if not _equal(state_dict[first], state_dict[other]):
                raise InputError(f"these weights have two values for {first} and {other}, which the model ties to one")
    if len(sources) < len(own):
        covered = {tensor.data_ptr() for tensor in targets}
        missing = [name for name in own if name not in state_dict and own[name].data_ptr() not in covered]
        if missing:
            raise InputError(f"these weights lack {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}")
    torch._foreach_copy_(targets, sources)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Bit for bit, but for the kinds of NaN."""
    return torch.equal(one, other) or torch.equal(one.nan_to_num(nan=1e30), other.nan_to_num(nan=1e30))


def own_tensors(model: Holder) -> tuple[dict[str, Tensor], list[list[str]]]:
    """Every tensor of the state dict by name, and the names that share one. Kept while it is all parameters: these stay the
    same objects when the module is moved or cast; buffers do not."""
    kept = state_of(model).proofs.get("tensors")
    if kept is not None:
        return kept
    own = dict(model.module.state_dict(keep_vars=True))
    by_memory: dict[int, list[str]] = {}
    for name, tensor in own.items():
        by_memory.setdefault(tensor.data_ptr() if tensor.numel() else -len(by_memory) - 1, []).append(name)
    found = own, [names for names in by_memory.values() if len(names) > 1]
    if all(isinstance(tensor, torch.nn.Parameter) for tensor in own.values()):
        state_of(model).proofs["tensors"] = found
    return found


def _misfit(name: str, target: Tensor, value: Tensor) -> InputError:
    if target.is_meta:
        return InputError(
            f"{name} is on the meta device in the model (off-loaded, or never loaded): nothing can be copied there"
        )
    if target.shape != value.shape:
        return InputError(f"{name} is {tuple(target.shape)} in the model and {tuple(value.shape)} in these weights")
    return InputError(f"{name} is {target.dtype} in the model and {value.dtype} in these weights")
