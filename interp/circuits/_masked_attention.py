"""Attention with queries, keys and values of one's own: the module itself runs, with these in its projections' place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from interp.models.attention import attention_module
from interp.models.shadowing import shadowing
from interp.models.site_tensors import mapped, part_of, qkv_view

if TYPE_CHECKING:
    from jaxtyping import Float

    from interp.models import Model


def run_attention(
    model: Model,
    layer: int,
    call: tuple[tuple[Any, ...], dict[str, Any]],
    sides: dict[str, Float[Tensor, "row pos head d_head"]],
    n_circuits: int,
) -> Float[Tensor, "row pos head d_head"]:
    """z of a layer whose attention module is given these q, k and v in its projections' place. call: its arguments in the
    clean run; rows are circuits × prompts."""
    sites = mapped(model)
    kept: list[Tensor] = []
    raw: dict[nn.Module, Tensor] = {}
    widths = {
        path: sum(sides[slot].shape[-2:].numel() for slot in "qkv" if getattr(sites, slot) == path)
        for path in (sites.q, sites.k, sites.v)
    }
    for slot, value in sides.items():
        module = part_of(model, getattr(sites, slot), layer)
        if module not in raw:
            raw[module] = value.new_empty(*value.shape[:2], widths[getattr(sites, slot)])
        qkv_view(model, slot)(raw[module]).copy_(value)

    def keep_z(x: Tensor) -> Tensor:
        kept.append(x.unflatten(-1, (model.n_heads, -1)))
        return x.new_zeros(1).expand(*x.shape[:-1], model.d_model)

    o = part_of(model, sites.o, layer)
    core, rows = attention_module(model, layer), len(sides["q"]) // n_circuits
    # of an attention module of its own making not every argument has a row for each prompt: a circuit at a time, then
    times = n_circuits if sites.attention != "softmax" else 1
    args, kwargs = (_repeated(x, rows, times) for x in call)
    with shadowing() as put:
        put(o, "forward", keep_z)  # behind anybody's hooks: these see what z is made of
        for part in range(n_circuits // times):
            span = slice(part * rows * times, (part + 1) * rows * times)
            stand_in = next(iter(sides.values())).new_zeros(1).expand(*sides["q"][span].shape[:2], model.d_model)
            placed = ((stand_in, *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": stand_in})
            for module, value in raw.items():
                put(
                    module, "_call_impl", lambda *_, value=value[span], **__: value
                )  # in front of hooks: what they left
            core(*placed[0], **placed[1])
    return torch.cat(kept)


def _repeated(value: Any, rows: int, times: int) -> Any:
    """Arguments of a pass over `rows` prompts as those of a pass over `times` copies of them."""
    if isinstance(value, Tensor):
        batched = value.dim() > 1 and value.shape[0] == rows and rows > 1
        return value.repeat(times, *[1] * (value.dim() - 1)) if batched else value
    if isinstance(value, tuple | list):
        return tuple(_repeated(each, rows, times) for each in value)
    if isinstance(value, dict):
        return {name: _repeated(each, rows, times) for name, each in value.items()}
    return value
