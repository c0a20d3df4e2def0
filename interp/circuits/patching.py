"""Node patching: what one node's output is worth, with everything that it leads to.

    denoise: score(u) = m(corrupt run with u's clean output put in) − m(corrupt run)
    noise:   score(u) = m(clean run) − m(clean run with u's corrupt output put in)

Both are positive where u helps the metric. `denoise` finds what suffices, `noise` what is needed. Exact:
`interp.patch` by head and by MLP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from interp.circuits._attribution import pair_of
from interp.circuits._circuit import Circuit
from interp.circuits._scored import scored

if TYPE_CHECKING:
    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


def patching(
    model: Model, prompts: Prompts, *, metric: Metric = "logit_diff", direction: Literal["denoise", "noise"] = "denoise"
) -> Circuit:
    """The effect of every head and every MLP, over all positions; that of `embed` is the whole difference between the
    runs."""
    from interp.patching import patch

    pair = pair_of(model, prompts, metric)
    graph = pair.graph
    heads = patch(model, prompts, site="z", by=("layer", "head"), metric=metric, direction=direction)
    passes, sign, base = heads.passes, 1.0, heads.corrupt
    if direction == "noise":
        sign, base = -1.0, heads.clean
    nodes = torch.full((len(graph.writers),), heads.clean - heads.corrupt)
    for layer in range(graph.n_layers):
        nodes[graph.head_columns(layer)] = sign * (heads.values[layer].float().cpu() - base)
    if graph.mlps:
        mlps = patch(model, prompts, site="mlp_out", by=("layer",), metric=metric, direction=direction)
        passes += mlps.passes
        for layer in range(graph.n_layers):
            nodes[graph.mlp_column(layer)] = sign * float(mlps.values[layer] - base)
    scores = torch.full(graph.edges.shape, torch.nan)
    return scored(pair, scores, "patching", nodes=nodes, passes=passes, direction=direction)
