"""The fast road of a sweep: what a patch cannot change is computed once, patches of one layer go on as one batch.

Layers below the patch, positions before the first one that differs (under causal attention) and positions that no metric
reads are never computed again. A patched head enters as its change of the residual stream, (z' − z) W_O, and a patch at
one position passes through that position's MLP alone. Exact: the same numbers as a whole forward pass a patch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from interp.models.sites import HEAD_SITES
from interp.models.weights import logits
from interp.patching.fast.changes import State, head_changes, logits_of, make_batch
from interp.patching.fast.parts import Block, is_causal, take_apart
from interp.patching.fast.rerun import Tape, can_rerun, through
from interp.patching.request import Cell, Runs, Sweep

if TYPE_CHECKING:
    from torch import Tensor

    from interp.models import Model

_LEAST_TOKENS = 1024
"""Positions that a batch may hold however few the prompts have: smaller matrix products are less efficient (a choice)."""

_BASE_NEEDS = {
    "resid_pre": ("pre",),
    "resid_mid": ("post",),
    "resid_post": ("post",),
    "attn_out": ("attn_out", "mid", "post"),
    "mlp_out": ("mlp_out", "post"),
    "mlp_post": ("hidden", "mlp_raw", "mlp_out", "post"),
    **dict.fromkeys(("z", "q", "k", "v", "pattern"), ("q", "z", "mid", "post")),
}
_SOURCE_NEEDS = {
    "resid_pre": ("pre",),
    "resid_mid": ("mid",),
    "resid_post": ("post",),
    "mlp_post": ("hidden",),
    "k": (),
    "v": (),
    "pattern": ("q",),
}


def can_reuse(sweep: Sweep) -> bool:
    """Whether the sweep goes layer by layer through a model that can be taken apart, at a site where a patch stays local."""
    sites = sweep.model.sites
    if "layer" not in sweep.axes or sites is None or sweep.site not in _BASE_NEEDS:
        return False
    if sites.flat_qk_norm and sweep.site in ("q", "k"):
        return False  # a norm over all heads: a patched head changes the others
    return can_rerun(sweep.model)


def reuse_runs(sweep: Sweep) -> Runs:
    """All runs of the sweep, on the fast road."""
    state, source_logits = _two_runs(sweep)
    runs = Runs(base=state.base_logits, source=source_logits, patched=iter(()), work=state.work)

    def patched() -> Iterator[tuple[Sequence[Cell], Tensor]]:
        for layer, cells in _by_layer(state).items():
            yield from _layer_runs(state, layer, cells)
            runs.work = state.work

    runs.patched = patched()
    return runs


def _two_runs(sweep: Sweep) -> tuple[State, Tensor]:
    model, mask, base = sweep.model, sweep.asked.mask, sweep.base
    read = sweep.asked.read.to(model.device)
    both = None if mask is None else torch.cat([mask, mask])
    made, embedded = take_apart(model, torch.cat([base, sweep.source]), both, n_prompts=len(base))
    # Under causal attention no position sees a later one: behind the last that is read nothing matters, and before the first
    # token in which the runs differ they are the same run.
    causal = is_causal(made)
    end = int(read.max()) + 1 if causal else base.shape[1]
    differ = (base != sweep.source)[:, :end].any(0).nonzero()
    start = (int(differ[0]) if len(differ) else end) if causal else 0
    needs = frozenset(_BASE_NEEDS[sweep.site])
    if model.sites is not None and model.sites.way_out and sweep.site in (*HEAD_SITES, "pattern"):
        needs |= {"attn_raw", "attn_out"}
    late = (read - start).clamp(min=0)
    tapes, found = _run(model, made, embedded[: len(base), :end], 0, [None] * len(made), needs, read)
    other = frozenset(_SOURCE_NEEDS.get(sweep.site, (sweep.site,)))
    source: list[Tape] = []
    if start == end:  # the prompts are the same as far as they are read
        other_logits = found
    else:
        source, other_logits = _run(model, made, embedded[len(base) :, start:end], start, tapes, other, late)
    state = State(
        sweep=sweep,
        blocks=made,
        base=tapes,
        source=source,
        base_logits=found,
        start=start,
        end=end,
        read=read,
        budget=max(base.numel(), _LEAST_TOKENS),
        work=len(base) * (end + end - start) * len(made),
    )
    return state, _where_read(state, other_logits[None], start)[0]


def _run(
    model: Model,
    made: list[Block],
    x: Tensor,
    start: int,
    base: Sequence[Tape | None],
    needs: frozenset[str],
    read: Tensor,
) -> tuple[list[Tape], Tensor]:
    """The tapes of all blocks and the logits where they are read (counted from `start`)."""
    tapes = []
    for block, before in zip(made, base, strict=True):
        # Nothing behind the last block's attention sees another position, so only what is read is queried there.
        at = read if block is made[-1] else None
        x, tape = through(block, x, start, before, keep=needs, read=at)
        tapes.append(tape)
    return tapes, logits(model, x)


def _where_read(state: State, found: Tensor, start: int) -> Tensor:
    """Logits [cell, prompt, …] of runs that began at `start`: prompts that are read before it are as unpatched."""
    early = state.read < start
    return torch.where(early[..., None], state.base_logits, found) if bool(early.any()) else found


def _by_layer(state: State) -> dict[int, list[Cell]]:
    """The cells whose patch can change what is read, by layer; those of one layer in the order of their positions."""
    sweep, last = state.sweep, len(state.blocks) - 1
    read = set(state.read.flatten().tolist())
    moves_on = sweep.site in ("resid_pre", "k", "v")  # patched at one position, seen from others in this block already
    found: dict[int, list[Cell]] = {}
    for cell in sweep.cells() if state.start < state.end else ():
        layer, pos, key = (sweep.at(cell, axis) for axis in ("layer", "pos", "key"))
        assert layer is not None
        inside = (pos is None or state.start <= pos < state.end) and (key or 0) < state.end
        if inside and (pos is None or layer < last or moves_on or pos in read):
            found.setdefault(layer, []).append(cell)
    for cells in found.values():
        cells.sort(key=lambda cell: sweep.at(cell, "pos") or 0)
    return found


def _layer_runs(state: State, layer: int, cells: list[Cell]) -> Iterator[tuple[Sequence[Cell], Tensor]]:
    """The patched runs of one layer, in batches that hold about as many positions as one forward pass."""
    dz, first = head_changes(state, layer), 0
    while first < len(cells):
        pos = state.sweep.at(cells[first], "pos")
        start = state.start if pos is None else pos
        # what is computed takes a position about six times as much memory as its key and value, which all positions have
        n = max(1, 7 * state.budget // (len(state.sweep.base) * (state.end + 6 * (state.end - start))))
        batch = cells[first : first + n]
        yield batch, _where_read(state, logits_of(make_batch(state, layer, batch, start), dz), start)
        first += n
