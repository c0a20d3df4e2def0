"""The training loss of a native model with only what the loss needs: the same parameters, the same gradients to rounding.

Exact, because of what is left out nothing reaches the loss:
    positions behind the last scored one are dropped (attention is causal);
    the last layer's queries, its MLP, the final norm and the unembedding run at the scored positions alone;
    the first layer's norm and projections run once per (token, position) where these are fewer than the tokens of the batch,
        for nothing else goes into them;
    attention over few keys is sums of elementwise products: batched matrix products of 3 × 3 cost more in calls than in sums.
Everything else is the module's own sub-modules. What this file does not know (`can_run`) is left to the module.

Letters of shapes: b sequence, p position, r scored position of a sequence, h head, e d_head, d d_model, n row of a table.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding, scaled_dot_product_attention

from interp.models.native import HOMES, NativeModel, is_native
from interp.training.edits import Edits, LayerEdit, bias_at, edited, mixed

if TYPE_CHECKING:
    from interp.types import Batch

ELEMENTWISE = 2**5
"""Products of (scored position, key) a head and sequence up to which elementwise sums are the faster attention (measured on
one thread of two shared cores: faster at 9, slower at 44 and at 121)."""
TABLE_GAIN = 2  # rows that a table has to save for each that it has
_NONE: Edits = {}
_PLAIN = LayerEdit()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """A batch as the loss needs it. tokens: cut off behind the last scored position. at: the scored positions of every
    sequence where all have equally many, else None. where: flat places b · n_pos + p of the scored positions. n_tokens: of the
    whole batch."""

    tokens: Int[Tensor, "b p"]
    n_tokens: int
    at: Int[Tensor, "b r"] | None
    where: Int[Tensor, "scored"]
    targets: Int[Tensor, "scored"]


def scored(batch: Batch, *, causal: bool = True) -> Scored:
    """The batch with its scored positions found. causal: nothing behind the last of them can reach the loss."""
    tokens, targets = batch.tokens, batch.targets
    real, n_tokens = targets >= 0, tokens.numel()
    if causal:
        stop = int(real.any(0).nonzero().max()) + 1 if bool(real.any()) else 1
        tokens, targets, real = tokens[:, :stop], targets[:, :stop], real[:, :stop]
    counts = real.sum(1)
    even = 0 < real.sum() < real.numel() and bool((counts == counts[0]).all())  # all of them need no looking up
    at = real.nonzero()[:, 1].view(len(tokens), -1) if even else None
    return Scored(
        tokens=tokens.contiguous(),
        n_tokens=n_tokens,
        at=at,
        where=real.flatten().nonzero()[:, 0],
        targets=targets[real],
    )


def can_run(module: nn.Module) -> bool:
    """Whether this is a native model as it was built: nothing hooked, wrapped, exchanged or compiled."""
    kinds = (nn.Embedding, nn.Linear, nn.LayerNorm, nn.Identity)
    if not is_native(module):
        return False
    model = cast("NativeModel", module)
    if model.cfg.attn_scores_soft_cap > 0 or not len(model.layers):
        return False  # fused attention has no cap on scores
    return all(
        (type(part) in kinds or type(part).__module__ in HOMES or isinstance(part, nn.ModuleList))
        and "forward" not in vars(part)
        and not (part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks)
        for part in module.modules()
    )


def loss(
    module: nn.Module, batch: Scored, *, dtype: torch.dtype = torch.float64, edits: Edits = _NONE, scale: float = 1.0
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the scored positions, in nats; its log-softmax in `dtype`. scale: of the logits.

    In float64 by default: a float32 log-softmax rounds losses below 1e-7 to zero, and training shows it as spikes. A module
    that this file does not know runs as a whole.
    """
    if can_run(module):
        logits = scored_logits(cast("NativeModel", module), batch, edits)
    else:
        with edited(module, edits) if edits else nullcontext():
            logits = module(batch.tokens).flatten(0, 1).index_select(0, batch.where)
    logits = logits.to(dtype)
    return cross_entropy(logits if scale == 1 else scale * logits, batch.targets)


def scored_logits(module: NativeModel, batch: Scored, edits: Edits = _NONE) -> Float[Tensor, "scored vocab"]:
    """The logits at the scored positions, sequence by sequence."""
    layers: list[Any] = list(module.layers)
    stream: Tensor | None = None
    for index, layer in enumerate(layers):
        last = index == len(layers) - 1
        at = batch.at if last else None
        if index == 0:
            stream, q, k, v = _first_sides(module, layer, batch.tokens, at)
        else:
            assert stream is not None
            stream, q, k, v = _sides(layer, stream, at)
        edit = edits.get(index, _PLAIN)
        written = layer.attn.o(_attention(layer.attn, q, k, v, at, edit).flatten(2))
        stream = stream + (written if edit.attn == 1 else edit.attn * written)
        if last and at is None:
            stream = stream.flatten(0, 1)
            stream = stream if len(batch.where) == len(stream) else stream.index_select(0, batch.where)
        if not layer.cfg.attn_only:
            written = layer.mlp(layer.ln2(stream))
            stream = stream + (written if edit.mlp == 1 else edit.mlp * written)
    assert stream is not None  # a model without layers is left to the module
    logits = module.head(module.ln_out(stream.flatten(0, -2)))
    cap = module.output_logits_soft_cap
    return cap * torch.tanh(logits / cap) if cap > 0 else logits


def _embedded(module: NativeModel, tokens: Tensor) -> Float[Tensor, "b p d"]:
    stream = module.tok_embed(tokens)
    return stream if module.pos is None else stream + module.pos.weight[: tokens.shape[1]]


def _first_sides(module: NativeModel, layer: Any, tokens: Tensor, at: Tensor | None) -> tuple[Tensor, ...]:
    """What enters the first layer at the positions that go on, and its q (there), k and v, by way of a table of all tokens at
    all positions where that is smaller than the batch."""
    n_pos, n_tokens = tokens.shape[1], module.tok_embed.num_embeddings
    n_places = n_pos if module.pos is not None else 1  # without position embeddings, tokens are alike everywhere
    if TABLE_GAIN * n_tokens * n_places > tokens.numel():
        return _sides(layer, _embedded(module, tokens), at)
    table = module.tok_embed.weight[:, None]
    table = table if module.pos is None else table + module.pos.weight[:n_pos]
    rows_n = tokens if n_places == 1 else tokens * n_places + torch.arange(n_pos)
    read_n = rows_n if at is None else rows_n.gather(1, at)
    table = table.flatten(0, 1)
    normed, attn = layer.ln1(table), layer.attn
    heads = [
        embedding(rows, project(normed)).unflatten(-1, (-1, attn.d_head))
        for project, rows in ((attn.q, read_n), (attn.k, rows_n), (attn.v, rows_n))
    ]
    return embedding(read_n, table), *heads


def _sides(layer: Any, stream: Float[Tensor, "b p d"], at: Tensor | None) -> tuple[Tensor, ...]:
    """The stream at the positions that go on, and the layer's q (there), k and v, [b, p or r, h, e]."""
    attn, normed = layer.attn, layer.ln1(stream)
    read = normed
    if at is not None:
        rows = torch.arange(len(stream))[:, None]
        stream, read = stream[rows, at], normed[rows, at]
    sides = (attn.q(read), attn.k(normed), attn.v(normed))
    return stream, *(side.unflatten(-1, (-1, attn.d_head)) for side in sides)


def _attention(
    attn: Any, q: Float[Tensor, "b r h e"], k: Tensor, v: Tensor, at: Tensor | None, edit: LayerEdit
) -> Float[Tensor, "b r h e"]:
    n_read, n_keys = q.shape[1], k.shape[1]
    if attn.rotary is not None:
        q, k = _rotated(attn.rotary, q, at), _rotated(attn.rotary, k, None)
    if attn.kv_repeats > 1:
        k, v = (side.repeat_interleave(attn.kv_repeats, dim=2) for side in (k, v))
    hidden = None
    if attn.causal:
        places = torch.arange(n_keys)
        hidden = places > (torch.arange(n_read)[:, None] if at is None else at[:, :, None])
        hidden = hidden if bool(hidden.any()) else None
    bias_bhrp = bias_at(edit, n_keys, at, q)
    if n_read * n_keys <= ELEMENTWISE:
        scores_brph = (q[:, :, None] * k[:, None]).sum(-1) / attn.scale
        if bias_bhrp is not None:
            scores_brph = scores_brph + bias_bhrp.permute(0, 2, 3, 1)
        if hidden is not None:
            scores_brph = scores_brph.masked_fill(hidden[..., None], -torch.inf)
        return mixed(edit, (scores_brph.softmax(2)[..., None] * v[:, None]).sum(2), v, at)
    q, k, across = (side.transpose(1, 2) for side in (q, k, v))
    if bias_bhrp is not None:
        covered = hidden if hidden is None or at is None else hidden[:, None]
        mask = bias_bhrp if covered is None else bias_bhrp.masked_fill(covered, -torch.inf)
        z = scaled_dot_product_attention(q, k, across, attn_mask=mask, scale=1 / attn.scale)
    elif hidden is None or at is None:
        z = scaled_dot_product_attention(q, k, across, is_causal=hidden is not None, scale=1 / attn.scale)
    else:
        z = scaled_dot_product_attention(q, k, across, attn_mask=~hidden[:, None], scale=1 / attn.scale)
    return mixed(edit, z.transpose(1, 2), v, at)


def _rotated(rotary: Any, x: Float[Tensor, "b p h e"], at: Tensor | None) -> Float[Tensor, "b p h e"]:
    turned, _ = rotary.apply_rope(x.transpose(1, 2), x.transpose(1, 2)[:, :1], position_ids=at)
    return turned.transpose(1, 2)
