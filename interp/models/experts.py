"""Mixtures of experts with router and experts in reach, for the duration of a call.

A router gives (logits, weights, indices) of every token's chosen experts; the experts take the tokens with indices and
weights, and give the weighted sum of what the chosen ones make of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.overrides import TorchFunctionMode

from interp.errors import InputError
from interp.models.site_tensors import blocks, mapped

if TYPE_CHECKING:
    from torch import Tensor

    from interp.models.handle import Model
    from interp.models.shadowing import Put

Edit = Callable[["Tensor"], "Tensor"]


def edit_experts(model: Model, put: Put, layer: int, edits: Mapping[str, tuple[Edit, bool]], shape: torch.Size) -> None:
    """Puts edits of `router_logits`, `expert_weights` and `expert_out` in the way of a layer's router and experts.

    edits: site -> (function that sees and returns the site's tensor [prompt, pos, expert, …], whether it changes it).
    shape: prompts and positions, which these modules see as one axis.
    """
    sites, block = mapped(model), blocks(model)[layer]
    router, experts = block.get_submodule(str(sites.router)), block.get_submodule(str(sites.experts))
    route, run = router.forward, experts.forward
    n_experts = len(cast("Tensor", router.weight))

    def routed(*args: Any) -> tuple[Tensor, ...]:
        with _Linear(edits["router_logits"][0] if "router_logits" in edits else None, shape) as watching:
            logits, weights, indices = route(*args)
        if watching.n_seen != 1:
            raise InputError(f"{watching.n_seen} projections in the router of {model.config['architecture']}, not one")
        if "expert_weights" not in edits:
            return logits, weights, indices
        edit, changes = edits["expert_weights"]
        dense = torch.zeros_like(logits, dtype=weights.dtype).scatter(-1, indices, weights)
        dense = edit(dense.unflatten(0, shape)).flatten(0, 1)
        return (logits, dense, _everyone(dense)) if changes else (logits, weights, indices)

    def each(hidden: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        dense = torch.zeros(len(hidden), n_experts, dtype=weights.dtype, device=weights.device)
        dense = dense.scatter(-1, indices, weights)
        whose = _everyone(dense)
        parts = [run(hidden, whose[:, [one]], dense[:, [one]]) for one in range(n_experts)]
        return edits["expert_out"][0](torch.stack(parts, dim=1).unflatten(0, shape)).flatten(0, 1).sum(1)

    if "router_logits" in edits or "expert_weights" in edits:
        put(router, "forward", routed)
    if "expert_out" in edits:
        put(experts, "forward", each)


def _everyone(dense: Tensor) -> Tensor:
    """Every expert's index, for every token."""
    return torch.arange(dense.shape[-1], device=dense.device).expand_as(dense)


class _Linear(TorchFunctionMode):
    """Within, what the one linear map gives goes through the edit."""

    def __init__(self, edit: Edit | None, shape: torch.Size):
        super().__init__()
        self.edit, self.shape, self.n_seen = edit, shape, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is not torch.nn.functional.linear:
            return output
        self.n_seen += 1
        return output if self.edit is None else self.edit(output.unflatten(0, self.shape)).flatten(0, 1)
