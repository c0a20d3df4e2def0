"""How a batch of patches in one layer changes the residual stream, and what the rest of the network makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from einops import rearrange, repeat

from interp.models.attention import attend
from interp.models.sites import HEAD_SITES
from interp.models.weights import W_O, W_out, logits
from interp.patching.fast.parts import Block
from interp.patching.fast.rerun import Tape, after_attention, finish, mix

if TYPE_CHECKING:
    from torch import Tensor

    from interp.patching.request import Cell, Sweep


@dataclass(slots=True, kw_only=True, eq=False)
class State:
    """The unpatched run (`base`) from the first position on, the other run (`source`) from `start` on.

    read: [prompt, answer_len], where logits are read; nothing matters from `end` on. budget: positions a batch should hold.
    work: how many positions went through a block so far, summed over rows and blocks.
    """

    sweep: Sweep
    blocks: list[Block]
    base: list[Tape]
    source: list[Tape]
    base_logits: Tensor
    start: int
    end: int
    read: Tensor
    budget: int
    work: int

    def is_last(self, layer: int) -> bool:
        """In the last block only what is read is queried, so its tapes hold those positions only (but for keys and values)."""
        return layer == len(self.blocks) - 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Patches of one layer; their runs begin at `start`. pos, head, neuron, key: one entry a cell, None without that axis.

    window: the positions that are changed directly, [cell or 1, prompt, W]; None in the last block, whose tapes hold the
    positions that are read and no others.
    """

    state: State
    layer: int
    n_cells: int
    start: int
    window: Tensor | None
    pos: Tensor | None
    head: Tensor | None
    neuron: Tensor | None
    key: Tensor | None

    def see(self, tensor: Tensor, offset: int = 0) -> Tensor:
        """[prompt, pos, …] -> [cell or 1, prompt, W, …]; the tensor's first position is `offset`."""
        return tensor[None] if self.window is None else tensor[self.prompts, self.window - offset]

    @property
    def prompts(self) -> Tensor:
        return torch.arange(len(self.state.read), device=self.state.read.device)[None, :, None]

    @property
    def cells(self) -> Tensor:
        return torch.arange(self.n_cells, device=self.state.read.device)

    @property
    def block(self) -> Block:
        return self.state.blocks[self.layer]

    @property
    def base(self) -> Tape:
        return self.state.base[self.layer]

    @property
    def source(self) -> Tape:
        return self.state.source[self.layer]


def make_batch(state: State, layer: int, cells: Sequence[Cell], start: int) -> Batch:
    """A batch whose window is each cell's own position, or everything from `start` on: so where there are no positions, and
    for keys and values, which are seen from all later ones."""
    device = state.read.device
    listed = dict(zip(state.sweep.axes, torch.tensor(cells, device=device).T, strict=True))
    pos = listed.get("pos")
    if state.is_last(layer):
        window = None
    elif pos is not None and state.sweep.site not in ("k", "v"):
        window = pos[:, None, None].expand(-1, len(state.read), 1)
    else:
        window = torch.arange(start, state.end, device=device).expand(1, len(state.read), -1)
    return Batch(
        state=state,
        layer=layer,
        n_cells=len(cells),
        start=start,
        window=window,
        pos=pos,
        head=listed.get("head"),
        neuron=listed.get("neuron"),
        key=listed.get("key"),
    )


def logits_of(batch: Batch, dz: Tensor | None) -> Tensor:
    """Logits [cell, prompt, answer_len, vocab] of the patched runs. dz: what `head_changes` prepared for the layer."""
    state, site, model = batch.state, batch.state.sweep.site, batch.state.sweep.model
    if site == "resid_pre":
        base, new = batch.base["pre"], batch.source["pre"]
        layer, stream = batch.layer, _placed(batch, base, new[:, batch.start - state.start :])
    else:
        post = _after_block(batch, dz)
        if batch.window is None:
            return logits(model, _where_patched(batch, post)).expand(batch.n_cells, -1, -1, -1)
        # What this block computes at one position enters other positions in later blocks only, through their attention. Keys
        # and values are seen from others already here.
        local = batch.pos is not None and site not in ("k", "v")
        base = batch.base["post"] if local else post
        layer, stream = batch.layer + 1, _placed(batch, base, post) if local else post.flatten(0, 1)
    read = (state.read - batch.start).clamp(min=0).repeat(len(stream) // len(state.read), 1)
    # No block below the patch sees it: the stream that enters `layer` is where the run is taken up.
    rest = state.blocks[layer:]
    state.work += stream.shape[0] * stream.shape[1] * len(rest)
    found = finish(model, rest, stream, batch.start, state.base[layer:], read)
    return found.unflatten(0, (-1, len(state.read))).expand(batch.n_cells, -1, -1, -1)


def _where_patched(batch: Batch, post: Tensor) -> Tensor:
    """In the last block: the change of a position concerns what is read there only (keys and values are seen from others)."""
    if batch.pos is None or batch.state.sweep.site in ("k", "v"):
        return post
    here = batch.state.read == batch.pos[:, None, None]
    return torch.where(here[..., None], post, batch.base["post"])


def _placed(batch: Batch, base: Tensor, new: Tensor) -> Tensor:
    """The residual stream [row, pos, d_model] from the batch's start on, with `new` at each cell's position.

    new: [prompt, pos from the start on, d_model], or [cell, prompt, 1, d_model]: each cell's own.
    """
    if batch.pos is None:
        return new
    stream = base[None, :, batch.start : batch.state.end].repeat(batch.n_cells, 1, 1, 1)
    own = new[:, batch.pos - batch.start].transpose(0, 1) if new.dim() == 3 else new[:, :, 0]
    stream[batch.cells, :, batch.pos - batch.start] = own
    return stream.flatten(0, 1)


def _after_block(batch: Batch, dz: Tensor | None) -> Tensor:
    """The residual stream after the patched block, [cell, prompt, W, d_model]. What a block adds to the stream is a sum, so a
    patch of one term is a difference of it; what reads the sum is computed anew."""
    block, base, source, offset = batch.block, batch.base, batch.source, batch.state.start
    match batch.state.sweep.site:
        case "resid_post":
            return batch.see(source["post"], offset)
        case "resid_mid":
            return after_attention(block, batch.see(source["mid"], offset))
        case "mlp_out":  # nothing in the block reads it
            return batch.see(base["post"]) + batch.see(source["mlp_out"], offset) - batch.see(base["mlp_out"])
        case "mlp_post":  # linear in the neurons up to the norm on the way out, which sees the changed sum
            raw = batch.see(base["mlp_raw"]) + _neuron_writes(batch)
            return batch.see(base["post"]) + block.ln2_post(raw) - batch.see(base["mlp_out"])
        case "attn_out":
            change = batch.see(source["attn_out"], offset) - batch.see(base["attn_out"])
        case _:
            change = _head_writes(batch, dz)
            if "attn_raw" in base:  # a norm on the way out is not linear: it is asked again
                change = block.ln1_post(batch.see(base["attn_raw"]) + change) - batch.see(base["attn_out"])
    if block.parallel:  # its MLP reads what enters the block
        return batch.see(base["post"]) + change
    return after_attention(block, batch.see(base["mid"]) + change)


def _neuron_writes(batch: Batch) -> Tensor:
    """What the patched neurons add to the MLP's output, [cell, prompt, W, d_model]: its last layer is linear, and its bias is
    in what they are added to."""
    weights = W_out(batch.state.sweep.model, batch.layer)
    hidden = batch.see(batch.source["hidden"], batch.state.start) - batch.see(batch.base["hidden"])
    if batch.neuron is None:
        return hidden @ weights
    chosen = hidden.expand(batch.n_cells, -1, -1, -1)[batch.cells, :, :, batch.neuron]
    return chosen[..., None] * weights[batch.neuron][:, None, None]


def head_changes(state: State, layer: int) -> Tensor | None:
    """What the patches of a layer do to z: dz [prompt, pos from `start` on, site_head, group]; None where it depends on more
    than the head (patches of k and v by position, of patterns by key) or the site has no heads."""
    site, axes = state.sweep.site, state.sweep.axes
    if site not in (*HEAD_SITES, "pattern") or "key" in axes or (site in ("k", "v") and "pos" in axes):
        return None
    block, base, source = state.blocks[layer], state.base[layer], state.source[layer]
    at = state.read.clamp(min=state.start) if state.is_last(layer) else None
    first = 0 if at is not None else state.start
    own = base["q"][:, :, first:]
    # z of a head at a query depends on that query, and on this head's keys and values: one site is the source's, the others
    # are the unpatched run's. All heads are done at once, since none sees another before W_O.
    match site:
        case "z":
            new = source["z"]
        case "k":
            new = mix(block, own, source["k"], base["v"], state.start, at)
        case "v":
            new = mix(block, own, base["k"], source["v"], state.start, at)
        case "q":
            new = mix(block, source["q"], base["k"], base["v"], state.start, at)
        case _:
            new = mix(block, source["q"], source["k"], base["v"], state.start, at)
    return _grouped(
        state, rearrange(new - base["z"][:, :, first:], "prompt head query d_head -> prompt query head d_head")
    )


def _grouped(state: State, dz: Tensor) -> Tensor:
    """[…, head, d_head] -> […, site_head, group]: heads that are patched together side by side."""
    n = state.sweep.axes.get("head", 1)
    return rearrange(dz, "... (site_head member) d_head -> ... site_head (member d_head)", site_head=n)


def _head_writes(batch: Batch, dz: Tensor | None) -> Tensor:
    """What the patched heads add to the residual stream, [cell, prompt, W, d_model] (before a norm on the way out): dz W_O of
    the heads concerned. The projection is linear, and its bias is in what they are added to."""
    own = torch.zeros_like(batch.cells) if batch.head is None else batch.head
    if dz is not None and batch.window is not None:
        change = dz[batch.prompts, batch.window - batch.state.start, own[:, None, None]]
    elif dz is not None:
        change = rearrange(dz[:, :, own], "prompt query cell group -> cell prompt query group")
    else:
        changes = _key_value_changes(batch) if batch.key is None else _pattern_changes(batch)
        change = changes[batch.cells, :, :, own]
    n = batch.state.sweep.axes.get("head", 1)
    weights = W_O(batch.state.sweep.model, batch.layer)
    weights = rearrange(weights, "(site_head member) d_head d_model -> site_head (member d_head) d_model", site_head=n)[
        own
    ]
    return torch.bmm(change.flatten(1, 2), weights).unflatten(1, change.shape[1:3])


def _pattern_changes(batch: Batch) -> Tensor:
    """dz of patterns that are patched at one key, [cell, prompt, W, site_head, group]: z is the sum of weight × value over the
    keys, so it changes by the change of the one weight times the key's value."""
    state, block, base, source = batch.state, batch.block, batch.base, batch.source
    assert batch.key is not None
    if batch.window is None:
        at = state.read.clamp(min=state.start)[:, None, :, None].expand(-1, -1, -1, block.keep.shape[-1])
        keep, q = block.keep.expand(len(at), -1, -1, -1).gather(2, at), base["q"]
    else:
        keep, q = block.keep[:, :, state.start : state.end], base["q"][:, :, state.start :]
    old, new = (
        attend(queries, k, base["v"], keep[..., : state.end], block.scale, block.cap)[1]
        for queries, k in ((q, base["k"]), (source["q"], source["k"]))
    )
    change = rearrange(new - old, "prompt head query key -> prompt query key head")
    if batch.window is None:
        change = rearrange(change[:, :, batch.key], "prompt query cell head -> cell prompt query head")
    else:
        change = change[batch.prompts, batch.window - state.start, batch.key[:, None, None]]
    n = change.shape[-1] // base["v"].shape[1]  # query heads that share a value
    values = repeat(base["v"][:, :, batch.key], "prompt kv cell d_head -> cell prompt (kv member) d_head", member=n)
    return _grouped(state, change[..., None] * values[:, :, None])


def _key_value_changes(batch: Batch) -> Tensor:
    """dz of keys or values that are patched at one position, [cell, prompt, W, site_head, group]. Every later query sees them;
    cells that differ in the head alone share their attention, since no head sees another's keys and values."""
    state, block, base, source = batch.state, batch.block, batch.base, batch.source
    assert batch.pos is not None
    places, which = torch.unique(batch.pos, return_inverse=True)
    n, is_last = len(places), batch.window is None
    k, v = (
        _with_one_changed(base[site], source[site], places)
        if state.sweep.site == site
        else base[site].repeat(n, 1, 1, 1)
        for site in ("k", "v")
    )
    q, old = (base[name] if is_last else base[name][:, :, batch.start :] for name in ("q", "z"))
    at = state.read.clamp(min=state.start).repeat(n, 1) if is_last else None
    new = mix(block, q.repeat(n, 1, 1, 1), k, v, batch.start, at).unflatten(0, (n, -1))
    return _grouped(state, rearrange(new - old, "place prompt head query d_head -> place prompt query head d_head"))[
        which
    ]


def _with_one_changed(base: Tensor, source: Tensor, places: Tensor) -> Tensor:
    """[prompt, head, pos, d_head] -> [place × prompt, head, pos, d_head]: once for each place, with the source's entry there."""
    copies = repeat(base, "prompt head pos d_head -> place prompt head pos d_head", place=len(places)).clone()
    new = rearrange(source[:, :, places], "prompt head place d_head -> place prompt head d_head")
    copies[torch.arange(len(places), device=places.device), :, :, places] = new
    return copies.flatten(0, 1)
