"""Information flow routes (Ferrando and Voita 2024, arXiv 2403.00824): how much of what a reader sees comes from
which writer.

    proximity(z, y) = max(0, ‖y‖₁ − ‖y − z‖₁),  score(u->r) = proximity(u, what r reads) / Σ over writers

One clean run, no corrupt prompts and no metric: a score says that information flows, not that the skill needs it; it
is never negative. All readers of a layer's norm share their scores. Means over prompts, and over positions (for the
logits: the positions that are read).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from interp.circuits._attribution import Pair, pair_of, parts, run_clean
from interp.circuits._circuit import Circuit
from interp.circuits._edges import head_outputs
from interp.circuits._scored import scored

if TYPE_CHECKING:
    from jaxtyping import Float

    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


def information_flow(model: Model, prompts: Prompts, *, metric: Metric = "logit_diff") -> Circuit:
    """Every edge's share of what its reader sees; the metric is only noted."""
    pair = pair_of(model, prompts, metric)
    total = torch.zeros(pair.graph.edges.shape)
    for _, part in parts(pair):
        total += _shares(part)
    scores = (total / pair.n_prompts).masked_fill(~pair.graph.edges, torch.nan)
    return scored(pair, scores, "information-flow", passes=1)


def _shares(pair: Pair) -> Float[Tensor, "reader writer"]:
    """Sums over prompts."""
    graph, model, asked, clean = pair.graph, pair.model, pair.asked, run_clean(pair)
    everything = (slice(None), slice(None))
    real = torch.ones_like(asked.clean, dtype=torch.bool) if asked.mask is None else asked.mask.bool()
    weight = (real / real.sum(1, keepdim=True)).to(model.device)
    at_answer = torch.zeros_like(weight).scatter_add_(
        1, asked.read.to(model.device), torch.ones_like(weight[:, :1]).expand_as(asked.read)
    )
    scores = torch.zeros(graph.edges.shape)
    writers = clean.pre[0][None]
    for layer in range(graph.n_layers):
        n_seen = writers.shape[0]
        scores[graph.rows(layer, "q").start : graph.rows(layer, "v").stop, :n_seen] = _share(
            writers, clean.pre[layer], weight
        )
        writers = torch.cat([writers, head_outputs(model, clean, layer, everything).permute(2, 0, 1, 3)])
        if graph.mlps:
            row = graph.rows(layer, "mlp")
            seen = writers[: graph.n_seen(row.start)]
            scores[row, : len(seen)] = _share(seen, clean.mid[layer], weight)
            writers = torch.cat([writers, clean.mlp[layer][None]])
    scores[-1] = _share(writers, clean.final, at_answer / at_answer.sum(1, keepdim=True))
    return scores


def _share(
    writers: Float[Tensor, "writer prompt pos d_model"],
    stream: Float[Tensor, "prompt pos d_model"],
    weight: Float[Tensor, "prompt pos"],
) -> Float[Tensor, "writer"]:
    near = (stream.abs().sum(-1) - (stream - writers).abs().sum(-1)).clamp(min=0)
    share = near / near.sum(0).clamp(min=1e-12)
    return (share * weight).sum((1, 2)).float().cpu()
