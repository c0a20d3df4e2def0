"""EAP-IG over activations (Hanna et al. 2024): each node's output goes from its corrupt to its clean value while all
else stays clean.

    score(u->r) = (u_clean − u_corrupt) · mean over a of ∂metric/∂(what r reads), u being corrupt + a·(clean − corrupt).

The heads of a layer go together, as do all positions. Cost grows with depth: `steps` gradients for the embedding,
every layer of heads, every MLP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from interp.circuits._attribution import gradients_along, pair_of, parts, replaced_by, run_clean, run_corrupt
from interp.circuits._circuit import Circuit
from interp.circuits._edges import changes_of, edge_scores
from interp.circuits._quadrature import points
from interp.circuits._record import Record
from interp.circuits._scored import scored

if TYPE_CHECKING:
    from torch import Tensor

    from interp.circuits._graph import Graph
    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


def eap_ig_activations(
    model: Model,
    prompts: Prompts,
    *,
    metric: Metric = "logit_diff",
    steps: int = 5,
    rule: str = "spread",
    ablation: str = "corrupt",
) -> Circuit:
    """Every edge's score; rules and ablations as for `eap_ig`."""
    pair = pair_of(model, prompts, metric, ablation=ablation)
    fixed, path = replaced_by(pair, ablation), points(rule, steps, pair.n_prompts)
    total = torch.zeros(pair.graph.edges.shape)
    for rows, part in parts(pair):
        clean, corrupt = run_clean(part), fixed or run_corrupt(part)
        changes = changes_of(part, clean, corrupt)
        for columns, spot, (end, start) in _groups(pair.graph, clean, corrupt):
            for grads in gradients_along(part, path, rows, start, end, clean.logits, spot=spot):
                total += edge_scores(part, changes, grads, columns=columns).nan_to_num()
    total = total.masked_fill(~pair.graph.edges, torch.nan)
    passes = 2 + 3 * steps * (1 + pair.graph.n_layers * (1 + pair.graph.mlps))
    return scored(pair, total, "eap-ig-activations", passes=passes, steps=steps, rule=rule, ablation=ablation)


def _groups(
    graph: Graph, clean: Record, corrupt: Record
) -> list[tuple[slice, tuple[str, int] | None, tuple[Tensor, Tensor]]]:
    """(columns, site and layer, clean and corrupt values) of the writers that move together; no site means the
    embedding."""
    groups: list[tuple[slice, tuple[str, int] | None, tuple[Tensor, Tensor]]] = [
        (slice(0, 1), None, (clean.pre[0], corrupt.pre[0]))
    ]
    for layer in range(graph.n_layers):
        groups.append((graph.head_columns(layer), ("z", layer), (clean.z[layer], corrupt.z[layer])))
        if graph.mlps:
            column = graph.mlp_column(layer)
            groups.append((slice(column, column + 1), ("mlp", layer), (clean.mlp[layer], corrupt.mlp[layer])))
    return groups
