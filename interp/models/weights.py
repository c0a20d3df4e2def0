"""A model's weights by role, per head, whatever the architecture's own layout; all multiply from the right: x @ W + b.

They are views of the module's own tensors wherever these say what it computes (see `linear`): read them, and clone before
writing. Biases that do not exist are None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from interp.models.shadowing import evaluating
from interp.models.site_tensors import mapped, part_of, qkv_view
from interp.models.sites import check_site
from interp.models.state import agree, is_bare, refusal

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


def linear(
    model: Model, path: str, layer: int | None = None, *, d_in: int | None = None
) -> tuple[Float[Tensor, "d_in d_out"], Float[Tensor, "d_out"] | None]:
    """Weight and bias of the projection at a path of the map, as it is now.

    Of torch's Linear and transformers' Conv1D these are the module's own tensors. Any other (an adapter, quantised or off-loaded
    weights, a hook) is asked what it makes of the unit vectors: they are exact for every module that is linear.

    d_in: its width (None: d_model).

    Raises:
        InputError: it is not linear.
    """
    module = part_of(model, path, layer)
    if is_bare(module) and type(module).__name__ in ("Linear", "Conv1D") and not cast("Tensor", module.weight).is_meta:
        return matrix(module), bias(module)
    n = model.d_model if d_in is None else d_in
    where = path if layer is None else f"{mapped(model).blocks}.{layer}.{path}"
    try:
        with torch.no_grad(), evaluating(module):
            probe = torch.linspace(-1, 1, 2 * n, dtype=model.dtype, device=model.device).sin().view(2, n)
            rows = torch.cat([probe.new_zeros(1, n), torch.eye(n, dtype=probe.dtype, device=probe.device), probe])
            found = _first(module(rows[None]))[0]
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise refusal(model, f"{where} does not take single vectors, so its weight cannot be told") from error
    constant, images = found[0], found[1 : n + 1] - found[0]
    if not agree(probe @ images + constant, found[n + 1 :]):
        raise refusal(model, f"{where} is not linear, so there is no weight that says what it computes")
    return images, constant


def _first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def _projection(model: Model, site: str, layer: int) -> Float[Tensor, "head d_model d_head"]:
    weight, _ = linear(model, getattr(mapped(model), site), layer)
    return qkv_view(model, site)(weight).movedim(1, 0)


def _projection_bias(model: Model, site: str, layer: int) -> Float[Tensor, "head d_head"] | None:
    _, values = linear(model, getattr(mapped(model), site), layer)
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
    weight, _ = linear(model, mapped(model).o, layer, d_in=model.n_heads * model.d_head)
    return weight.unflatten(0, (model.n_heads, -1))


def b_O(model: Model, layer: int) -> Float[Tensor, "d_model"] | None:
    return linear(model, mapped(model).o, layer, d_in=model.n_heads * model.d_head)[1]


def _mlp(model: Model, layer: int, path: str | None, d_in: int | None = None) -> tuple[Tensor, Tensor | None]:
    check_site("mlp_post", model.sites)
    return linear(model, cast(str, path), layer, d_in=d_in)


def _of_gate(model: Model, values: Tensor) -> Tensor:
    """The gate's half [..., neuron] of a fused gate and linear branch; all where they are not fused."""
    return values.chunk(2, dim=-1)[0] if mapped(model).fused_gate else values


def W_in(model: Model, layer: int) -> Float[Tensor, "d_model neuron"]:
    """Into the neurons; of a gated MLP the gate's weight, which its non-linearity sees."""
    return _of_gate(model, _mlp(model, layer, mapped(model).mlp_in)[0])


def b_in(model: Model, layer: int) -> Float[Tensor, "neuron"] | None:
    values = _mlp(model, layer, mapped(model).mlp_in)[1]
    return None if values is None else _of_gate(model, values)


def W_up(model: Model, layer: int) -> Float[Tensor, "d_model neuron"] | None:
    """The linear branch of a gated MLP, None without a gate."""
    path = mapped(model).mlp_up
    if mapped(model).fused_gate:
        return _mlp(model, layer, mapped(model).mlp_in)[0].chunk(2, dim=-1)[1]
    return None if path is None else _mlp(model, layer, path)[0]


def _out(model: Model, layer: int) -> tuple[Tensor, Tensor | None]:
    check_site("mlp_post", model.sites)
    final = part_of(model, cast(str, mapped(model).mlp_final), layer)
    d_in = getattr(final, "in_features", None) or W_in(model, layer).shape[1]
    return _mlp(model, layer, mapped(model).mlp_final, d_in)


def W_out(model: Model, layer: int) -> Float[Tensor, "neuron d_model"]:
    """From the neurons to the residual stream (before a norm on the way out, where the architecture has one)."""
    return _out(model, layer)[0]


def b_out(model: Model, layer: int) -> Float[Tensor, "d_model"] | None:
    return _out(model, layer)[1]


def W_E(model: Model) -> Float[Tensor, "vocab d_model"]:
    """The token embedding's table; Gemma multiplies what it looks up by the square root of d_model."""
    return _table(model, mapped(model).embed)


def W_pos(model: Model) -> Float[Tensor, "pos d_model"] | None:
    """Learned position embeddings, None where there are none."""
    path = mapped(model).pos_embed
    return None if path is None else _table(model, path)


def _table(model: Model, path: str) -> Tensor:
    module = part_of(model, path)
    if not is_bare(module) or cast("Tensor", module.weight).is_meta:
        raise refusal(model, f"{path} is not a table of vectors alone")
    return cast("Tensor", module.weight)


def W_U(model: Model) -> Float[Tensor, "d_model vocab"]:
    """The unembedding."""
    return linear(model, mapped(model).unembed)[0]


def b_U(model: Model) -> Float[Tensor, "vocab"] | None:
    return linear(model, mapped(model).unembed)[1]


def norm(model: Model, name: str, layer: int | None = None) -> Callable[[Tensor], Tensor]:
    """The norm `ln1`, `ln2`, `ln1_post` or `ln2_post` of a layer, or `ln_final`, as a function; the identity where there is none.

    On the way out (`ln1_post`, `ln2_post`) a factor of the residual stream counts as one.
    """
    if name == "ln_final":
        last = mapped(model).ln_final
        return torch.nn.Identity() if last is None else part_of(model, last)
    sites, path = mapped(model), getattr(mapped(model), name)
    if name.endswith("_post") and sites.resid_scale != 1.0:
        return _Scale(sites.resid_scale)
    return torch.nn.Identity() if path is None or layer is None else part_of(model, path, layer)


class _Scale(torch.nn.Module):
    """Multiplication by a number."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def mlp(model: Model, layer: int) -> Callable[[Tensor], Tensor]:
    """The MLP of a layer (a mixture of experts as a whole), from what it reads behind `ln2` to what it puts out."""
    parts = [part_of(model, path, layer) for path in mapped(model).mlp_chain]

    def through(x: Tensor) -> Tensor:
        out = x.flatten(0, -3)  # experts want prompts and positions, and no more axes
        for part in parts:
            out = part(out)
        return (out[0] if isinstance(out, tuple) else out).view_as(x)

    return through


def logits(model: Model, stream: Float[Tensor, "... d_model"]) -> Float[Tensor, "... vocab"]:
    """What the model makes of the residual stream after the last block: final norm, unembedding, factor and cap."""
    sites = mapped(model)
    return finished(sites, part_of(model, sites.unembed)(norm(model, "ln_final")(stream)))


def finished(sites: Sites, unembedded: Tensor) -> Tensor:
    """The logits of what the unembedding gives: its factor and its cap, where the architecture has them."""
    scaled = unembedded if sites.logit_scale == 1.0 else unembedded * sites.logit_scale
    return scaled if sites.logit_cap is None else sites.logit_cap * torch.tanh(scaled / sites.logit_cap)
