"""Edge scores from gradients: the change of every writer between two runs against the gradient of every reader.

The score of u->r is Σ over prompts and positions of (u_clean − u_corrupt) · ∂metric/∂(what r reads). The gradient of
a head's input is the gradient at its projection's output times the transposed weight, through one backward step of
the norm; then one matrix product a layer scores every writer against every reader.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from interp.circuits._record import Record, by_head
from interp.models.state import is_bare
from interp.models.weights import W_K, W_O, W_Q, W_V, b_O, norm

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

    from interp.circuits._attribution import Pair
    from interp.models import Model


def changes_of(pair: Pair, clean: Record, corrupt: Record) -> Float[Tensor, "writer prompt*pos*d_model"]:
    """How what each writer adds differs between the runs, from where the prompts differ on.

    corrupt: what writers are replaced by; its first dimension may be 1.
    """
    graph, part = pair.graph, (slice(None), slice(pair.start, None))
    changes = (clean.pre[0] - corrupt.pre[0])[part].flatten()[None].repeat(len(graph.writers), 1)
    for layer in range(graph.n_layers):
        changes[graph.head_columns(layer)] = head_changes(pair.model, clean, corrupt, layer, part).flatten(1)
        if graph.mlps:
            changes[graph.mlp_column(layer)] = (clean.mlp[layer] - corrupt.mlp[layer])[part].flatten()
    return changes


def edge_scores(
    pair: Pair, changes: Float[Tensor, "writer prompt*pos*d_model"], grads: Record, *, columns: slice | None = None
) -> Float[Tensor, "reader writer"]:
    """Change · gradient of every edge, summed over prompts and positions; NaN where there is no edge.

    grads: a pass over the prompts, or over several copies of them at other points: the gradients of these are summed.
    columns: of which writers; the others' scores are 0.
    """
    graph, model = pair.graph, pair.model
    part = (slice(None), slice(pair.start, None))
    scores = torch.zeros(graph.edges.shape)
    columns = columns or slice(0, len(graph.writers))

    def fill(rows: slice, reads: Callable[[], Float[Tensor, "reader copy*prompt pos d_model"]]) -> None:
        seen = slice(columns.start, min(columns.stop, graph.n_seen(rows.start)))
        if seen.start < seen.stop:
            read = reads().unflatten(1, (-1, pair.n_prompts)).sum(1)
            scores[rows, seen] = _against(read, changes[seen])

    for layer in range(graph.n_layers):
        heads = slice(graph.rows(layer, "q").start, graph.rows(layer, "v").stop)
        fill(heads, partial(head_gradients, model, grads, layer, part))
        if graph.mlps:
            behind = grads.grad_mlp_in[layer][part][None]
            fill(
                graph.rows(layer, "mlp"), partial(pull_back, norm(model, "ln2", layer), grads.mid[layer][part], behind)
            )
    behind = grads.grad_final[part][None]
    fill(slice(len(scores) - 1, len(scores)), partial(pull_back, norm(model, "ln_final"), grads.final[part], behind))
    return scores.masked_fill(~graph.edges, torch.nan)


def _against(read: Float[Tensor, "reader prompt pos d_model"], changes: Tensor) -> Float[Tensor, "reader writer"]:
    return (read.flatten(1) @ changes.T).float().cpu()


def head_gradients(
    model: Model, grads: Record, layer: int, part: tuple[slice, slice]
) -> Float[Tensor, "reader prompt pos d_model"]:
    """Gradients at what each head's q, then k, then v reads of the residual stream."""
    sides = (("q", W_Q, grads.grad_q), ("k", W_K, grads.grad_k), ("v", W_V, grads.grad_v))
    behind = [
        torch.einsum("bphe,hde->hbpd", by_head(model, slot, raw[layer])[part], weight(model, layer).detach())
        for slot, weight, raw in sides
    ]
    return pull_back(norm(model, "ln1", layer), grads.pre[layer][part], torch.cat(behind))


def head_outputs(
    model: Model, kept: Record, layer: int, part: tuple[slice, slice]
) -> Float[Tensor, "prompt pos head d_model"]:
    """What each head adds to the residual stream. Where a norm follows the heads' sum, its scale is that of this
    run, and the bias of the sum, which it scales too, is the heads' in equal shares."""
    each = torch.einsum("bphe,hed->bphd", kept.z[layer][part], W_O(model, layer).detach())
    if model.sites is None or not model.sites.way_out:
        return each
    each = each + share_of_bias(model, layer)
    return each * scale_on_the_way_out(kept.o[layer][part], kept.attn[layer][part])[:, :, None]


def share_of_bias(model: Model, layer: int) -> Tensor | float:
    """Each head's share of the bias of their sum."""
    bias = b_O(model, layer)
    return 0.0 if bias is None else bias.detach() / model.n_heads


def scale_on_the_way_out(before: Tensor, after: Tensor) -> Tensor:
    """after / before, 0 where there is nothing to scale."""
    return torch.where(before == 0, 0.0, after / torch.where(before == 0, 1.0, before))


def head_changes(
    model: Model, clean: Record, corrupt: Record, layer: int, part: tuple[slice, slice]
) -> Float[Tensor, "head prompt pos d_model"]:
    """How what each head adds differs between the runs."""
    if model.sites is not None and not model.sites.way_out:
        z = (clean.z[layer] - corrupt.z[layer])[part]
        return torch.einsum("bphe,hed->hbpd", z, W_O(model, layer).detach())
    return (head_outputs(model, clean, layer, part) - head_outputs(model, corrupt, layer, part)).permute(2, 0, 1, 3)


def pull_back(
    through: Callable[[Tensor], Tensor],
    x: Float[Tensor, "prompt pos d_model"],
    grad: Float[Tensor, "reader prompt pos d_model"],
) -> Float[Tensor, "reader prompt pos d_model"]:
    """Gradients behind a norm as gradients before it, for many readers at once."""
    if isinstance(through, nn.Identity):
        return grad
    if isinstance(through, nn.LayerNorm) and is_bare(through):
        centred = x - x.mean(-1, keepdim=True)
        inverse = (centred.square().mean(-1, keepdim=True) + through.eps).rsqrt()
        normed = centred * inverse
        scaled = grad * (inverse if through.weight is None else inverse * through.weight.detach())
        along = torch.einsum("rbpd,bpd->rbp", scaled, normed)[..., None] / x.shape[-1]
        return scaled.sub_(scaled.mean(-1, keepdim=True)).addcmul_(normed, along, value=-1)
    with torch.enable_grad():
        many = x.detach().expand_as(grad).requires_grad_()
        normed = through(many)
        if not normed.requires_grad:  # somebody's hook lets no gradient through: it is zero before the norm
            return torch.zeros_like(grad)
        return torch.autograd.grad(normed, many, grad)[0]
