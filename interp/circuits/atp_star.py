"""AtP* (Kramár et al. 2024, arXiv 2403.00745): attribution patching of nodes with its two known failures mended.

QK fix: the softmax is not linearised. For a head's queries (keys), the pattern that corrupt queries (keys) give with
    clean keys (queries) is
computed, and its difference from the clean pattern meets the gradient at the pattern.
GradDrop: gradients through one layer at a time are dropped, and the sizes of the scores averaged, so that a direct
    and an indirect effect that cancel
do not hide a node.

`nodes` holds the writers' scores with GradDrop (sign of the plain score); `about["inputs"]` those of the heads'
queries, keys and values (`L1H0.q`) with the QK fix. Positive = the node helps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from interp.circuits._attribution import Pair, objective_of, pair_of, parts, run_clean, run_corrupt
from interp.circuits._circuit import Circuit
from interp.circuits._masked import Masker, masker
from interp.circuits._masked_attention import run_attention
from interp.circuits._record import Record, by_head, record
from interp.circuits._scored import scored
from interp.hooks.activations import capture
from interp.models.attention import edited_attention
from interp.models.shadowing import evaluating

if TYPE_CHECKING:
    from jaxtyping import Float

    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


def atp_star(model: Model, prompts: Prompts, *, metric: Metric = "logit_diff") -> Circuit:
    """Scores of all writers, and of the heads' inputs."""
    pair = pair_of(model, prompts, metric)
    graph = pair.graph
    writers = torch.zeros(1 + graph.n_layers, len(graph.writers))  # all gradients, then without each layer's
    inputs = torch.zeros(len(graph.readers))
    for _, part in parts(pair):
        clean, corrupt = run_clean(part, grad=True, outputs_too=True), run_corrupt(part)
        runs = [clean, *(_without(part, layer) for layer in range(graph.n_layers))]
        writers += torch.stack([_writers(part, clean, corrupt, grads) for grads in runs])
        inputs += _inputs(part, clean, corrupt)
    nodes = writers[0].sign() * writers[1:].abs().mean(0)
    heads = {name: float(inputs[row]) for row, name in enumerate(graph.readers) if name.endswith((".q", ".k", ".v"))}
    scores = torch.full(graph.edges.shape, torch.nan)
    return scored(pair, scores, "atp-star", nodes=nodes, passes=8 + 3 * graph.n_layers, inputs=heads)


def _writers(pair: Pair, clean: Record, corrupt: Record, grads: Record) -> Float[Tensor, "writer"]:
    """(clean − corrupt) · gradient of each writer."""
    graph = pair.graph
    found = torch.zeros(len(graph.writers))
    found[0] = ((clean.pre[0] - corrupt.pre[0]) * grads.grad_embed).sum()
    for layer in range(graph.n_layers):
        products = (clean.z[layer] - corrupt.z[layer]) * grads.grad_z[layer]
        found[graph.head_columns(layer)] = products.sum((0, 1, 3)).float().cpu()
        if graph.mlps:
            found[graph.mlp_column(layer)] = ((clean.mlp[layer] - corrupt.mlp[layer]) * grads.grad_mlp[layer]).sum()
    return found


def _without(pair: Pair, layer: int) -> Record:
    """Gradients of the clean run, none of them through this layer's attention and MLP."""

    def stop(x: Tensor) -> Tensor:
        return x.detach().requires_grad_()

    asked = pair.asked
    edits = {("z", layer): stop} | ({("mlp", layer): stop} if pair.graph.mlps else {})
    return record(
        pair.model, asked.clean, asked.mask, asked.read, objective=objective_of(pair), edits=edits, outputs_too=True
    )


def _inputs(pair: Pair, clean: Record, corrupt: Record) -> Float[Tensor, "reader"]:
    """Queries and keys by the change of the pattern, values to first order; 0 for what is no head's input."""
    graph, model, asked = pair.graph, pair.model, pair.asked
    seen = capture(
        model, asked.clean, "pattern", mask=asked.mask, gradients_of=objective_of(pair), logits_at=asked.read
    )
    assert seen.gradients is not None
    with edited_attention(model, {}, dict.fromkeys((("", n) for n in range(graph.n_layers)), lambda pattern: pattern)):
        ready = masker(pair, clean=run_clean(pair), corrupt=corrupt)  # masks as the attention in reach wants them
    found = torch.zeros(len(graph.readers))
    for layer in range(graph.n_layers):
        base, grad = seen["pattern"][layer].detach(), seen.gradients["pattern"][layer]
        for slot in "qk":
            effect = ((base - _pattern(ready, layer, clean, corrupt, slot)) * grad).sum((0, 2, 3)).float().cpu()
            rows = graph.rows(layer, slot)
            found[rows] = effect.view(rows.stop - rows.start, -1).sum(1)
        change = by_head(model, "v", clean.v[layer] - corrupt.v[layer]) * by_head(model, "v", clean.grad_v[layer])
        found[graph.rows(layer, "v")] = change.sum((0, 1, 3)).float().cpu()
    return found


@torch.no_grad()
def _pattern(
    ready: Masker, layer: int, clean: Record, corrupt: Record, slot: str
) -> Float[Tensor, "prompt head query key"]:
    """The attention pattern with q or k from the corrupt run and all else clean."""
    model = ready.pair.model
    sides = {
        name: by_head(model, name, getattr(corrupt if name == slot else clean, name)[layer]) for name in ("q", "k", "v")
    }
    kept: list[Tensor] = []

    def look(pattern: Tensor) -> Tensor:
        kept.append(pattern)
        return pattern

    with evaluating(model.module), edited_attention(model, {}, {("", layer): look}):
        run_attention(model, layer, ready.clean.attention[layer], sides, 1)
    return kept[0]
