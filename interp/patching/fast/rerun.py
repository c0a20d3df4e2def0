"""A model taken apart, to run again only what a patch changes: from any block on, from any position on.

Keys and values of the positions before the first changed one are taken from the unpatched run; in the last block only the
positions that the metric reads are queried. Whether an architecture can be taken apart like this is not believed but
tried, once a handle, against its own forward pass (`can_rerun`).

Rows are cells × prompts, a cell being one patch. Positions count from the `start` that a call names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch.nn.functional import scaled_dot_product_attention

from interp.models.attention import attend
from interp.models.shadowing import evaluating, on_input, shadowing
from interp.models.state import agree, is_plain, proved
from interp.models.weights import logits
from interp.patching.fast.parts import Block, at_positions, take_apart

if TYPE_CHECKING:
    from torch import Tensor

    from interp.models import Model


def rotated(block: Block, x: Tensor, start: int, at: Tensor | None = None) -> Tensor:
    """Queries or keys [row, head, pos, d_head] turned by their positions: `start` and on, or each row's own `at` [row, pos]."""
    if block.cos is None or block.sin is None or block.rotate_half is None:
        return x
    cos, sin = (repeated(table, len(x)) for table in (block.cos, block.sin))
    if at is None:
        cos, sin = cos[:, start : start + x.shape[2]], sin[:, start : start + x.shape[2]]
    else:
        cos, sin = (torch.take_along_dim(t.expand(len(x), -1, -1), at[:, :, None], 1) for t in (cos, sin))
    cos, sin, n = cos[:, None].to(x.dtype), sin[:, None].to(x.dtype), cos.shape[-1]
    turned = x[..., :n] * cos + block.rotate_half(x[..., :n]) * sin
    return turned if n == x.shape[-1] else torch.cat([turned, x[..., n:]], dim=-1)


def repeated(per_prompt: Tensor, n_rows: int) -> Tensor:
    """A tensor [#prompt, …] repeated for every cell; as it is where it is the same for all prompts."""
    n = len(per_prompt)
    return per_prompt if n in (1, n_rows) else per_prompt.repeat(n_rows // n, *[1] * (per_prompt.dim() - 1))


def mix(block: Block, q: Tensor, k: Tensor, v: Tensor, start: int, at: Tensor | None = None) -> Tensor:
    """z [row, head, query, d_head] of rotated q at positions `start` on (or at each row's own `at`), keys from the first on."""
    n_key = k.shape[2]
    keep = repeated(block.keep, len(q))
    if at is None:
        keep = keep[:, :, start : start + q.shape[2], :n_key]
    else:
        rows = torch.arange(len(q), device=q.device)[:, None]
        keep = keep.expand(len(q), -1, -1, -1)[rows, 0, at, :n_key][:, None]
    if block.cap is not None:
        return attend(q, k, v, keep, block.scale, block.cap)[0]
    grouped = q.shape[1] != k.shape[1]
    return scaled_dot_product_attention(q, k, v, attn_mask=keep, scale=block.scale, enable_gqa=grouped)


def extended(base: Tensor, new: Tensor, start: int) -> Tensor:
    """Keys or values [row, head, pos, d_head]: the unpatched ones of each prompt up to `start`, then the new ones. Under causal
    attention a patch from `start` on leaves those before it as they were."""
    if start == 0:
        return new
    cells = len(new) // len(base)
    prefix = base[:, :, :start]
    prefix = prefix if cells == 1 else prefix.repeat(cells, 1, 1, 1)
    return torch.cat([prefix, new], dim=2)


Tape = dict[str, "Tensor"]
"""What a run of one block left behind from its start on: always `k` (rotated) and `v`, and what else was asked for.

Names: pre, mid, post [row, pos, d_model]; z, q (rotated) [row, head, pos, d_head]; attn_raw, mlp_raw (before the norm that may
follow), attn_out, mlp_out [row, pos, d_model]; hidden, the neurons [row, pos, neuron]."""


def through(
    block: Block,
    x: Tensor,
    start: int,
    base: Tape | None = None,
    *,
    keep: frozenset[str] = frozenset(),
    read: Tensor | None = None,
) -> tuple[Tensor, Tape]:
    """The residual stream x [row, pos, d_model] after the block, and a tape of what `keep` names.

    base: the unpatched run's tape, for the keys and values before `start`. read: [row, chosen], counted from `start`: only
    these positions are queried and returned.
    """
    normed, entering = block.ln1(x), x
    if block.qkv is not None:
        q, k, v = block.qkv(normed, read)
    else:
        k, v = block.k(normed), block.v(normed)
        q = block.q(normed if read is None else at_positions(normed, read))
    at = None if read is None else read + start
    q, k = rotated(block, q, start, at), rotated(block, k, start)
    if base is not None:
        k, v = extended(base["k"], k, start), extended(base["v"], v, start)
    z = mix(block, q, k, v, start, at)
    raw = block.o(rearrange(z, "row head pos d_head -> row pos (head d_head)"))
    x = x if read is None else at_positions(x, read)  # behind attention everything works position by position
    tape = {"k": k, "v": v}
    with _neurons(block, tape) if "hidden" in keep else nullcontext():
        post = _rest(block, x, raw, tape if keep else None)
    if keep:
        tape |= {"z": z, "q": q, "attn_raw": raw, "pre": entering, "post": post}
    return post, {name: tape[name] for name in ("k", "v", *keep)}


@contextmanager
def _neurons(block: Block, kept: Tape) -> Iterator[None]:
    """Within, what enters the MLP's last layer is kept."""

    def look(hidden: Tensor) -> Tensor:
        kept["hidden"] = hidden
        return hidden

    assert block.mlp_final is not None
    with shadowing() as put:
        on_input(put, block.mlp_final, look)
        yield


def _rest(block: Block, x: Tensor, raw: Tensor, kept: Tape | None) -> Tensor:
    """From attention's raw output to the residual stream after the block."""
    attn_out = block.ln1_post(raw)
    mid = x + attn_out
    if kept is not None:
        kept |= {"attn_out": attn_out, "mid": mid}
    if block.mlp is None:
        return mid
    mlp_raw = block.mlp(block.ln2(x if block.parallel else mid))
    mlp_out = block.ln2_post(mlp_raw)
    if kept is not None:
        kept |= {"mlp_raw": mlp_raw, "mlp_out": mlp_out}
    return mid + mlp_out


def after_attention(block: Block, mid: Tensor) -> Tensor:
    """The residual stream after a sequential block, from the one between its attention and its MLP."""
    return mid if block.mlp is None else mid + block.ln2_post(block.mlp(block.ln2(mid)))


def finish(model: Model, made: Sequence[Block], x: Tensor, start: int, tapes: Sequence[Tape], read: Tensor) -> Tensor:
    """Logits [row, chosen, vocab] at `read` [row, chosen] (counted from `start`), from the stream that enters the first of
    these blocks (none: that leaves the last one). `tapes` are the unpatched run's."""
    for block, tape in zip(made, tapes, strict=True):
        x, _ = through(block, x, start, tape, read=read if block is made[-1] else None)
    return logits(model, x if made else at_positions(x, read))


def can_rerun(model: Model) -> bool:
    """Whether this model, taken apart, computes what its own forward pass computes: tried on six tokens once a state of a plain
    module. Any other may do different things at other positions, or for whole batches: it is run as a whole."""
    if model.sites is None or not model.sites.written:
        return False
    return is_plain(model) and proved(model, "rerun", partial(_agrees, model))


def _agrees(model: Model) -> bool:
    """A whole run, and one from the third position and second block on, against the module's own logits."""
    n = min(6, model.n_ctx)
    tokens = (torch.arange(2 * n, device=model.device).reshape(2, n) * 7 + 3) % model.d_vocab
    tokens[1, : n // 2] = tokens[0, : n // 2]
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[:, 0] = n < 3
    with torch.no_grad(), evaluating(model.module):
        expected = model(tokens, mask)[:, -1:]
        made, embedded = take_apart(model, tokens, mask)
        x, tapes = embedded, []
        for block in made:
            x, tape = through(block, x, 0)
            tapes.append(tape)
        read = torch.full((2, 1), n - 1, device=model.device)
        whole = logits(model, at_positions(x, read))
        part = finish(model, made, embedded[:, n // 2 :], n // 2, tapes, read - n // 2)
    return agree(whole, expected) and agree(part, expected)
