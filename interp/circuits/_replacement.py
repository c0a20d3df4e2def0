"""What readers see where writers are replaced: the sums of what the replaced writers write, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from interp.circuits._edges import scale_on_the_way_out, share_of_bias
from interp.models import Model
from interp.models.site_tensors import mapped, part_of
from interp.models.weights import W_O, norm


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replacement:
    """What replaced writers write, layer by layer, and what readers see if all are replaced. The first dimension is
    prompts, or 1."""

    embed: Tensor
    z: list[Tensor]
    heads: list[Tensor | None]
    mlp: list[Tensor]
    pre: list[Tensor]
    mid: list[Tensor]
    final: Tensor


def replacement(model: Model, embed: Tensor, z: list[Tensor], mlp: list[Tensor]) -> Replacement:
    """Sum the writers up, layer by layer (biases of the heads' output are always there)."""
    sites, stream = mapped(model), embed
    pre, mid, heads = [], [], []
    for layer in range(model.n_layers):
        pre.append(stream)
        o = part_of(model, sites.o, layer)(z[layer].flatten(-2))
        post = norm(model, "ln1_post", layer)(o)
        heads.append(scaled_heads(model, layer, z[layer], o, post))
        stream = stream + post
        if mlp:
            mid.append(pre[-1] if sites.parallel else stream)
            stream = stream + mlp[layer]
    return Replacement(embed=embed, z=z, heads=heads, mlp=mlp, pre=pre, mid=mid, final=stream)


def scaled_heads(model: Model, layer: int, z: Tensor, o: Tensor, post: Tensor) -> Tensor | None:
    """[c·b, p, head, d] with the norm on the way out; None where there is no such norm (then z says it all)."""
    if not mapped(model).way_out:
        return None
    each = torch.einsum("bphe,hed->bphd", z, W_O(model, layer)) + share_of_bias(model, layer)
    return each * scale_on_the_way_out(o, post)[:, :, None]
