"""Weight matrices by what they do, on every architecture that has a map of sites.

All have d_model as their last axis. Biases, and norms between a weight and the residual stream, are left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from interp.models.weights import W_K, W_O, W_Q, W_V

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from interp.measure.observe import Observation
    from interp.models import Model


class Heads(NamedTuple):
    """What every head reads with and writes: q, k, v map d_model to d_head, o maps d_head to d_model.

    Grouped keys and values are repeated, so that every query head has its own.
    """

    q: Float[Tensor, "layer head d_head d_model"]
    k: Float[Tensor, "layer head d_head d_model"]
    v: Float[Tensor, "layer head d_head d_model"]
    o: Float[Tensor, "layer head d_head d_model"]


def distinct(weights: dict[str, Tensor]) -> list[Tensor]:
    """Every parameter once, tied ones too."""
    return list({id(weight): weight for weight in weights.values()}.values())


def embedding(obs: Observation) -> Float[Tensor, "vocab d_model"]:
    """Token embedding."""
    return obs["weights"][f"{obs.sites.embed}.weight"].double()


def unembedding(obs: Observation) -> Float[Tensor, "vocab d_model"]:
    """Unembedding: logits = unembedding @ residual stream (after the last norm)."""
    return obs["weights"][f"{obs.sites.unembed}.weight"].double()


def heads(model: Model) -> Heads:
    """The weights of all attention heads, as the model has them now."""

    def of_all(part: Callable[[Model, int], Tensor], *, repeats: int = 1) -> Float[Tensor, "layer head d_in d_out"]:
        each = torch.stack([part(model, layer).detach() for layer in range(model.n_layers)]).double().cpu()
        return each.repeat_interleave(repeats, dim=1)

    shared = model.n_heads // model.n_kv_heads
    k, v = (of_all(part, repeats=shared).mT for part in (W_K, W_V))
    return Heads(of_all(W_Q).mT, k, v, of_all(W_O))


def mlp_out(obs: Observation, layer: int) -> Float[Tensor, "neuron d_model"] | None:
    """What every neuron of a layer writes; None in an attention-only model."""
    path = obs.sites.mlp_final
    return None if path is None else _matrix(obs, layer, path).T


def matrices(obs: Observation) -> dict[str, Float[Tensor, "row d_model"]]:
    """All weight matrices, stacked by component: "embed", "logits", "L2" (q, k, v, o of all heads), "L2.mlp"."""
    sites, found = obs.sites, {"embed": embedding(obs), "logits": unembedding(obs)}
    for layer in range(obs.model.n_layers):
        found[f"L{layer}"] = torch.cat(_projections(obs, layer))
        if sites.mlp_in is not None:
            reading = [_matrix(obs, layer, path) for path in (sites.mlp_in, sites.mlp_up) if path is not None]
            writing = [part for part in [mlp_out(obs, layer)] if part is not None]
            found[f"L{layer}.mlp"] = torch.cat(reading + writing)
    return found


def _projections(obs: Observation, layer: int) -> list[Float[Tensor, "heads_times_d_head d_model"]]:
    """q, k, v and (transposed) o of one layer, taken out of whatever fused layout the architecture has."""
    sites, model = obs.sites, obs.model
    out = _matrix(obs, layer, sites.o).T
    if sites.qkv == "split":
        return [*(_matrix(obs, layer, path) for path in (sites.q, sites.k, sites.v)), out]
    fused = _matrix(obs, layer, sites.q)
    if sites.qkv == "interleaved":
        parts = fused.view(model.n_heads, 3, model.d_head, -1)
        return [*(parts[:, i].flatten(0, 1) for i in range(3)), out]
    widths = [n * model.d_head for n in (model.n_heads, model.n_kv_heads, model.n_kv_heads)]
    return [*fused.split(widths), out]


def _matrix(obs: Observation, layer: int, path: str) -> Float[Tensor, "output input"]:
    """The weight of a linear module of a block, as [output, input] whichever way round the module keeps it."""
    path = f"{obs.sites.blocks}.{layer}.{path}"
    weight = obs["weights"][f"{path}.weight"].double()
    return weight.T if is_transposed(obs, path) else weight


def distance(obs: Observation, other: Observation | None) -> float:
    """‖w − w_other‖₂ over all parameters, tied ones once; NaN where there is no other."""
    if other is None:
        return math.nan
    pairs = zip(distinct(obs["weights"]), distinct(other["weights"]), strict=True)
    return sum(float((a.double() - b.double()).square().sum()) for a, b in pairs) ** 0.5


def head_masks(obs: Observation, like: dict[str, Tensor], layer: int, head: int) -> dict[str, Tensor]:
    """1 for the weights and biases of q, k, v and the weights of o that belong to one head, 0 for all others."""
    sites, model = obs.sites, obs.model
    masks = {name: torch.zeros_like(value) for name, value in like.items()}
    block, group = f"{sites.blocks}.{layer}", head * model.n_kv_heads // model.n_heads
    for path, which, own in ((sites.q, 0, head), (sites.k, 1, group), (sites.v, 2, group)):
        for kind in ("weight", "bias"):
            mask = masks.get(f"{block}.{path}.{kind}")
            if mask is not None:
                transposed = kind == "weight" and is_transposed(obs, f"{block}.{path}")
                outputs = mask.T if transposed else mask
                outputs[_output_rows(obs, which, own)] = 1
    out = masks[f"{block}.{sites.o}.weight"]
    inputs = out if is_transposed(obs, f"{block}.{sites.o}") else out.T
    inputs[head * model.d_head : (head + 1) * model.d_head] = 1
    return masks


def _output_rows(obs: Observation, which: int, head: int) -> slice:
    """Where the output of one head's q (0), k (1) or v (2) is, in the projection's layout."""
    model, width = obs.model, obs.model.d_head
    starts = {
        "split": head * width,
        "interleaved": (3 * head + which) * width,
        "concat": (0, model.n_heads, model.n_heads + model.n_kv_heads)[which] * width + head * width,
    }
    start = starts[obs.sites.qkv]
    return slice(start, start + width)


def is_transposed(obs: Observation, path: str) -> bool:
    """Whether a linear module keeps its weight as [input, output], as GPT-2's do."""
    return type(obs.model.module.get_submodule(path)).__name__ == "Conv1D"
