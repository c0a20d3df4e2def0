"""A model's weights by role, per head, whatever the architecture's own layout; all multiply from the right: x @ W + b.

They are views of the module's own tensors: read them, and clone before writing. Biases that do not exist are None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from interp.models.site_tensors import blocks, mapped, qkv_view
from interp.models.sites import check_site

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor, nn

    from interp.models.handle import Model
    from interp.models.sites import Sites


def matrix(module: nn.Module) -> Float[Tensor, "d_in d_out"]:
    """The weight of a linear module, input dimension first (transformers' Conv1D keeps it so, torch's Linear transposed)."""
    weight = cast("Tensor", module.weight)
    return weight if type(module).__name__ == "Conv1D" else weight.mT


def bias(module: nn.Module) -> Float[Tensor, "d_out"] | None:
    """The bias of a linear module, None where it has none."""
    return cast("Tensor | None", getattr(module, "bias", None))


def _part(model: Model, layer: int, path: str) -> nn.Module:
    return blocks(model)[layer].get_submodule(path)


def _projection(model: Model, site: str, layer: int) -> Float[Tensor, "head d_model d_head"]:
    module = _part(model, layer, getattr(mapped(model), site))
    return qkv_view(model, site)(matrix(module)).movedim(1, 0)


def _projection_bias(model: Model, site: str, layer: int) -> Float[Tensor, "head d_head"] | None:
    values = bias(_part(model, layer, getattr(mapped(model), site)))
    return None if values is None else qkv_view(model, site)(values)


def W_Q(model: Model, layer: int) -> Float[Tensor, "head d_model d_head"]:
    """What makes queries of the (normed) residual stream."""
    return _projection(model, "q", layer)


def W_K(model: Model, layer: int) -> Float[Tensor, "kv_head d_model d_head"]:
    """What makes keys; grouped heads share one."""
    return _projection(model, "k", layer)


def W_V(model: Model, layer: int) -> Float[Tensor, "kv_head d_model d_head"]:
    """What makes values; grouped heads share one."""
    return _projection(model, "v", layer)


def b_Q(model: Model, layer: int) -> Float[Tensor, "head d_head"] | None:
    return _projection_bias(model, "q", layer)


def b_K(model: Model, layer: int) -> Float[Tensor, "kv_head d_head"] | None:
    return _projection_bias(model, "k", layer)


def b_V(model: Model, layer: int) -> Float[Tensor, "kv_head d_head"] | None:
    return _projection_bias(model, "v", layer)


def W_O(model: Model, layer: int) -> Float[Tensor, "head d_head d_model"]:
    """What writes z to the residual stream (before a norm on the way out, where the architecture has one)."""
    return matrix(_part(model, layer, mapped(model).o)).unflatten(0, (model.n_heads, -1))


def b_O(model: Model, layer: int) -> Float[Tensor, "d_model"] | None:
    return bias(_part(model, layer, mapped(model).o))


def _mlp(model: Model, layer: int, path: str | None) -> nn.Module:
    check_site("mlp_post", model.sites)
    return _part(model, layer, cast(str, path))


def _of_gate(model: Model, values: Tensor) -> Tensor:
    """The gate's half [..., neuron] of a fused gate and linear branch; all where they are not fused."""
    return values.chunk(2, dim=-1)[0] if mapped(model).fused_gate else values


def W_in(model: Model, layer: int) -> Float[Tensor, "d_model neuron"]:
    """Into the neurons; of a gated MLP the gate's weight, which its non-linearity sees."""
    return _of_gate(model, matrix(_mlp(model, layer, mapped(model).mlp_in)))


def b_in(model: Model, layer: int) -> Float[Tensor, "neuron"] | None:
    values = bias(_mlp(model, layer, mapped(model).mlp_in))
    return None if values is None else _of_gate(model, values)


def W_up(model: Model, layer: int) -> Float[Tensor, "d_model neuron"] | None:
    """The linear branch of a gated MLP, None without a gate."""
    path = mapped(model).mlp_up
    if mapped(model).fused_gate:
        return matrix(_mlp(model, layer, mapped(model).mlp_in)).chunk(2, dim=-1)[1]
    return None if path is None else matrix(_mlp(model, layer, path))


def W_out(model: Model, layer: int) -> Float[Tensor, "neuron d_model"]:
    """From the neurons to the residual stream (before a norm on the way out, where the architecture has one)."""
    return matrix(_mlp(model, layer, mapped(model).mlp_final))


def b_out(model: Model, layer: int) -> Float[Tensor, "d_model"] | None:
    return bias(_mlp(model, layer, mapped(model).mlp_final))


def W_E(model: Model) -> Float[Tensor, "vocab d_model"]:
    """The token embedding's table; Gemma multiplies what it looks up by the square root of d_model."""
    return cast("Tensor", model.module.get_submodule(mapped(model).embed).weight)


def W_pos(model: Model) -> Float[Tensor, "pos d_model"] | None:
    """Learned position embeddings, None where there are none."""
    path = mapped(model).pos_embed
    return None if path is None else cast("Tensor", model.module.get_submodule(path).weight)


def W_U(model: Model) -> Float[Tensor, "d_model vocab"]:
    """The unembedding."""
    return matrix(model.module.get_submodule(mapped(model).unembed))


def b_U(model: Model) -> Float[Tensor, "vocab"] | None:
    return bias(model.module.get_submodule(mapped(model).unembed))


def norm(model: Model, name: str, layer: int | None = None) -> Callable[[Tensor], Tensor]:
    """The norm `ln1`, `ln2`, `ln1_post` or `ln2_post` of a layer, or `ln_final`, as a function; the identity where there is none.

    On the way out (`ln1_post`, `ln2_post`) a factor of the residual stream counts as one.
    """
    if name == "ln_final":
        return model.module.get_submodule(mapped(model).ln_final)
    sites, path = mapped(model), getattr(mapped(model), name)
    if name.endswith("_post") and sites.resid_scale != 1.0:
        return _Scale(sites.resid_scale)
    return torch.nn.Identity() if path is None or layer is None else _part(model, layer, path)


class _Scale(torch.nn.Module):
    """Multiplication by a number."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def mlp(model: Model, layer: int) -> Callable[[Tensor], Tensor]:
    """The MLP of a layer (a mixture of experts as a whole), from what it reads behind `ln2` to what it puts out."""
    parts = [_part(model, layer, path) for path in mapped(model).mlp_chain]

    def through(x: Tensor) -> Tensor:
        for part in parts:
            x = part(x)
        return x[0] if isinstance(x, tuple) else x

    return through


def logits(model: Model, stream: Float[Tensor, "... d_model"]) -> Float[Tensor, "... vocab"]:
    """What the model makes of the residual stream after the last block: final norm, unembedding, factor and cap."""
    sites = mapped(model)
    return finished(sites, model.module.get_submodule(sites.unembed)(norm(model, "ln_final")(stream)))


def finished(sites: Sites, unembedded: Tensor) -> Tensor:
    """The logits of what the unembedding gives: its factor and its cap, where the architecture has them."""
    scaled = unembedded if sites.logit_scale == 1.0 else unembedded * sites.logit_scale
    return scaled if sites.logit_cap is None else sites.logit_cap * torch.tanh(scaled / sites.logit_cap)
