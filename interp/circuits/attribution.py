"""Attribution patching of nodes (Nanda 2023): node patching to first order, all nodes from two runs and one backward
pass.

    score(u) = (u_clean − u_corrupt) · ∂metric/∂u, gradient on the clean run, summed over positions, mean over prompts.

`attribute` gives the same by position or by neuron.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from interp.circuits._attribution import Pair, objective_of, pair_of, parts
from interp.circuits._circuit import Circuit
from interp.circuits._scored import scored
from interp.hooks.activations import capture

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


def attribution(model: Model, prompts: Prompts, *, metric: Metric = "logit_diff") -> Circuit:
    """Every writer's score."""
    pair = pair_of(model, prompts, metric)
    graph = pair.graph
    found = _products(pair, ("resid_pre", "z", *["mlp_out"] * graph.mlps))
    nodes = torch.zeros(len(graph.writers))
    nodes[0] = found["resid_pre"][0].sum()
    for layer in range(graph.n_layers):
        nodes[graph.head_columns(layer)] = found["z"][layer].sum((0, 2))
        if graph.mlps:
            nodes[graph.mlp_column(layer)] = found["mlp_out"][layer].sum()
    return scored(pair, torch.full(graph.edges.shape, torch.nan), "attribution", nodes=nodes, passes=4)


def attribute(
    model: Model, prompts: Prompts, *, site: str = "mlp_post", by_pos: bool = False, metric: Metric = "logit_diff"
) -> Float[Tensor, "layer *pos part"]:
    """The same for the parts of one site: neurons of `mlp_post`, heads of `z`, `q`, `k` or `v`, one part of anything
    else.

    by_pos: keep positions apart, up to the last that is read (later ones cannot matter).
    """
    found = _products(pair_of(model, prompts, metric), (site,))[site]
    found = found.sum(-1) if found.dim() == 4 else found if site.startswith("mlp_p") else found.sum(-1, keepdim=True)
    return found if by_pos else found.sum(1)


def _products(pair: Pair, sites: tuple[str, ...]) -> dict[str, Float[Tensor, "layer pos ..."]]:
    """(clean − corrupt) · gradient at each site, elementwise, summed over prompts."""
    total: dict[str, Tensor] = {}
    for _, part in parts(pair):
        asked = part.asked
        clean, corrupt = (
            capture(pair.model, tokens, sites, mask=asked.mask, gradients_of=gradients_of, logits_at=asked.read)
            for tokens, gradients_of in ((asked.clean, objective_of(part)), (asked.corrupt, None))
        )
        assert clean.gradients is not None
        for site in sites:
            product = ((clean[site] - corrupt[site]) * clean.gradients[site]).detach().sum(1).float().cpu()
            total[site] = total[site] + product if site in total else product
    return total
