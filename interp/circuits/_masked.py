"""Runs in which every edge carries either its own value or a replacement: the exact meaning of a circuit.

A reader sees  base + Σ_u m(u->r) · (u − replacement of u),  where base is what it reads when all writers are
replaced. With all edges kept that is the clean run, with none the replaced one. Writers that no kept edge can change
are never computed, layers in which all edges are kept are taken from the clean run, and positions before the first
difference are the same in all runs.

Letters of shapes: c circuit, b prompt, p position (from `start` on), d d_model, r reader, w writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from interp.circuits._attribution import Pair, parts, replaced_by, run_clean, run_corrupt
from interp.circuits._edges import head_outputs
from interp.circuits._masked_attention import run_attention
from interp.circuits._record import Record
from interp.circuits._replacement import Replacement, replacement, scaled_heads
from interp.measure.metrics import evaluate
from interp.models.shadowing import evaluating
from interp.models.site_tensors import mapped, part_of
from interp.models.state import agree, is_plain, proved, refusal, state_of, uncompiled
from interp.models.weights import W_K, W_O, W_Q, W_V, b_K, b_Q, b_V, mlp, norm
from interp.models.weights import logits as unembedded

if TYPE_CHECKING:
    from jaxtyping import Float

    from interp.circuits._graph import Graph

BUDGET = 2**23  # numbers held at once for the changes of all writers: 32 MiB in float32
PROMPT_BUDGET = 2**26  # numbers held at once for one circuit: 256 MiB in float32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Masker:
    """Everything that masked runs over these prompts share."""

    pair: Pair
    clean: Record
    replaced: Replacement
    start: int


def masker(
    pair: Pair, *, ablation: str = "corrupt", clean: Record | None = None, corrupt: Record | None = None
) -> Masker:
    """Prepare masked runs. ablation: an edge that is out carries its writer's value in the corrupt run (`corrupt`),
    nothing (`zero`), or its writer's mean over the corrupt runs of all prompts, position by position (`mean`)."""
    given = replaced_by(pair, ablation) or corrupt or run_corrupt(pair)
    start = pair.start if ablation == "corrupt" else 0
    with torch.no_grad(), evaluating(pair.model.module):
        fixed = replacement(pair.model, given.pre[0], given.z, given.mlp)
    ready = Masker(pair=pair, clean=clean or run_clean(pair), replaced=fixed, start=start)
    _prove(ready, ablation)
    return ready


def _prove(ready: Masker, ablation: str) -> None:
    """With all edges kept and nothing taken from the clean run, the logits are the clean run's."""
    model, everything = ready.pair.model, ready.pair.graph.edges[None].float()

    def attempt() -> bool:
        with torch.no_grad():
            return agree(masked_logits(ready, everything, anew=True)[0], ready.clean.logits)

    if not proved(model, ("masked", ablation), attempt):
        raise refusal(model, "a run in which all edges are kept, taken apart, gives other logits than the module's own")


def masked_values(
    masks: Float[Tensor, "circuit reader writer"],
    pair: Pair,
    *,
    ablation: str = "corrupt",
    prepared: Masker | None = None,
) -> Float[Tensor, "circuit prompt"]:
    """The metric of every prompt under every mask (1 keeps an edge). Memory is bounded: circuits are taken a few at a
    time, and prompts too where one circuit is too much (not for `mean`, nor for metrics of one's own)."""
    if prepared is None and ablation != "mean" and isinstance(pair.metric, str):
        size = max(1, PROMPT_BUDGET // _numbers(pair, 1))
        return torch.cat([_values(masks, masker(part, ablation=ablation)) for _, part in parts(pair, size)], dim=1)
    return _values(masks, prepared or masker(pair, ablation=ablation))


def _values(masks: Float[Tensor, "circuit reader writer"], ready: Masker) -> Float[Tensor, "circuit prompt"]:
    size = max(1, BUDGET // _numbers(ready.pair, ready.pair.n_prompts))
    if not is_plain(ready.pair.model):
        size = 1  # somebody's hook may look at the place in the batch
    with torch.no_grad():
        return torch.cat([measure(ready, masked_logits(ready, part)) for part in masks.split(size)])


def _numbers(pair: Pair, n_prompts: int) -> int:
    """How many numbers one circuit's changes of all writers are."""
    return len(pair.graph.writers) * n_prompts * (pair.asked.clean.shape[1] - pair.start) * pair.model.d_model


def measure(ready: Masker, logits: Float[Tensor, "circuit prompt answer_len vocab"]) -> Float[Tensor, "circuit prompt"]:
    """The metric of logits that masked runs gave; one that gives no values by prompt counts as one prompt."""
    values = evaluate(ready.pair.metric, logits, ready.pair.asked, ready.clean.logits)
    return values if values.dim() == 2 else values[:, None]


@dataclass(slots=True, kw_only=True, eq=False)
class _State:
    """A pass under way: for every group of writers so far, (its columns, how far they are from their replacement).
    The first dimension of a change, [c, w, b, p, d], is 1 while all circuits agree; None: no change."""

    masks: Tensor
    changes: list[tuple[slice, Tensor | None]]
    intact: bool


def masked_logits(
    ready: Masker, masks: Float[Tensor, "circuit reader writer"], *, anew: bool = False
) -> Float[Tensor, "circuit prompt answer_len vocab"]:
    """Logits where the metric reads, under every mask. Differentiable in the masks. anew: take nothing from the clean run."""
    graph, model = ready.pair.graph, ready.pair.model
    masks = masks.to(model.device, model.dtype)
    whole = _whole_rows(graph, masks)
    embed = (ready.clean.pre[0] - ready.replaced.embed)[None, None, :, ready.start :]
    state = _State(masks=masks, changes=[(slice(0, 1), embed)], intact=not anew)
    with evaluating(model.module), uncompiled(state_of(model)):
        for layer in range(graph.n_layers):
            rows = slice(graph.rows(layer, "q").start, graph.rows(layer, "v").stop)
            state.intact &= bool(whole[rows].all())
            heads = graph.head_columns(layer)
            changed = _clean_heads(ready, layer) if state.intact else _masked_heads(ready, state, layer)
            state.changes.append((heads, changed))
            if graph.mlps:
                row = graph.rows(layer, "mlp")
                state.intact &= bool(whole[row].all())
                column = graph.mlp_column(layer)
                changed = _clean_mlp(ready, layer) if state.intact else _masked_mlp(ready, state, layer)
                state.changes.append((slice(column, column + 1), changed))
        return _masked_answer(ready, state)


def _whole_rows(graph: Graph, masks: Tensor) -> Tensor:
    """Which readers keep all their edges in all circuits."""
    off = ~graph.edges.to(masks.device)
    if masks.requires_grad:
        return off.all(1)
    return ((masks == 1) | off).all(2).all(0)


def _clean_heads(ready: Masker, layer: int) -> Tensor:
    span, model = slice(ready.start, None), ready.pair.model
    scaled = ready.replaced.heads[layer]
    if scaled is None:
        z = (ready.clean.z[layer] - ready.replaced.z[layer])[:, span]
        return torch.einsum("bphe,hed->hbpd", z, W_O(model, layer).detach())[None]
    each = head_outputs(model, ready.clean, layer, (slice(None), span))
    return (each - scaled[:, span]).permute(2, 0, 1, 3)[None]


def _clean_mlp(ready: Masker, layer: int) -> Tensor:
    return (ready.clean.mlp[layer] - ready.replaced.mlp[layer])[None, None, :, ready.start :]


def _active(state: _State, rows: slice) -> list[int]:
    """Which readers (counted from the first of `rows`) see any change in any circuit."""
    live = torch.zeros(rows.stop - rows.start, dtype=torch.bool, device=state.masks.device)
    for columns, change in state.changes:
        if change is not None:
            live |= state.masks.detach()[:, rows, columns].any(0).any(-1)
    return live.nonzero()[:, 0].tolist()


def _mix(state: _State, base: Tensor, rows: Sequence[int]) -> Float[Tensor, "c r b p d"]:
    """What the readers `rows` see. base: [b or 1, p, d]."""
    mask = state.masks[:, rows]
    mixed = None
    for columns, change in state.changes:
        weight = mask[:, :, columns]
        if change is None or not bool(weight.detach().any()):
            continue
        flat = change.flatten(2)
        part = weight.flatten(0, 1) @ flat[0] if flat.shape[0] == 1 else torch.bmm(weight, flat).flatten(0, 1)
        mixed = part.view(*mask.shape[:2], *change.shape[2:]) + (base if mixed is None else mixed)
    assert mixed is not None
    return mixed


def _masked_heads(ready: Masker, state: _State, layer: int) -> Tensor | None:
    """What the heads of a layer change, [c, head, b, p, d]."""
    graph, model = ready.pair.graph, ready.pair.model
    live = {slot: _active(state, graph.rows(layer, slot)) for slot in "qkv"}
    heads = _heads_to_run(ready, state, layer, live)
    if not heads:
        return None
    base = ready.replaced.pre[layer]
    z = _attend(ready, state, layer, live)[:, ready.start :]
    shape = (len(state.masks), ready.pair.n_prompts)
    scaled = ready.replaced.heads[layer]
    out = z.new_zeros(shape[0], graph.n_heads, shape[1], *base.shape[1:])[:, :, :, ready.start :].contiguous()
    if scaled is None:
        change = z.unflatten(0, shape) - ready.replaced.z[layer][:, ready.start :]
        weight = W_O(model, layer).detach()[heads]
        return out.index_copy(
            1, torch.tensor(heads, device=z.device), torch.einsum("cbphe,hed->chbpd", change[..., heads, :], weight)
        )
    o = part_of(model, mapped(model).o, layer)(z.flatten(-2))
    each = scaled_heads(model, layer, z, o, norm(model, "ln1_post", layer)(o))
    assert each is not None
    return (each.unflatten(0, shape) - scaled[:, ready.start :]).permute(0, 3, 1, 2, 4)


def _heads_to_run(ready: Masker, state: _State, layer: int, live: dict[str, list[int]]) -> list[int]:
    """Heads that see a change and that some reader listens to."""
    graph = ready.pair.graph
    group = graph.n_heads // graph.n_kv_heads
    heard = state.masks.detach()[:, :, graph.head_columns(layer)].any(0).any(0).tolist()
    moved = [h in live["q"] or h // group in live["k"] or h // group in live["v"] for h in range(graph.n_heads)]
    if ready.replaced.heads[layer] is not None and any(moved):
        return [h for h in range(graph.n_heads) if heard[h]]
    return [h for h in range(graph.n_heads) if heard[h] and moved[h]]


def _attend(
    ready: Masker, state: _State, layer: int, live: dict[str, list[int]]
) -> Float[Tensor, "row pos head d_head"]:
    """z of a layer, a row for each circuit and prompt, all positions: the attention module itself runs, on q, k and v
    put in its way."""
    graph, model = ready.pair.graph, ready.pair.model
    n_circuits, n_prompts = len(state.masks), ready.pair.n_prompts
    base = ready.replaced.pre[layer]
    normed = norm(model, "ln1", layer)(base)
    sides = {}
    for slot, weight, offset in (("q", W_Q, b_Q), ("k", W_K, b_K), ("v", W_V, b_V)):
        w, b = weight(model, layer).detach(), offset(model, layer)
        usual = torch.einsum("bpd,hde->bphe", normed, w) + (0 if b is None else b.detach())
        full = usual.expand(n_circuits, n_prompts, *usual.shape[1:]).clone()
        if live[slot]:
            first = graph.rows(layer, slot).start
            seen = _mix(state, base[:, ready.start :], [first + head for head in live[slot]])
            own = torch.einsum("crbpd,rde->cbpre", norm(model, "ln1", layer)(seen), w[live[slot]])
            full[:, :, ready.start :, live[slot]] = own + (0 if b is None else b.detach()[live[slot]])
        sides[slot] = full.flatten(0, 1)
    return run_attention(model, layer, ready.clean.attention[layer], sides, n_circuits)


def _masked_mlp(ready: Masker, state: _State, layer: int) -> Tensor | None:
    graph, model = ready.pair.graph, ready.pair.model
    row = graph.rows(layer, "mlp")
    heard = state.masks.detach()[:, :, graph.mlp_column(layer)].any()
    if not bool(heard) or not _active(state, row):
        return None
    base = ready.replaced.mid[layer][:, ready.start :]
    seen = _mix(state, base, [row.start])[:, 0]
    out = mlp(model, layer)(norm(model, "ln2", layer)(seen.flatten(0, 1)))
    out = norm(model, "ln2_post", layer)(out)
    return (out.view_as(seen) - ready.replaced.mlp[layer][:, ready.start :])[:, None]


def _masked_answer(ready: Masker, state: _State) -> Tensor:
    """The unembedding, at the positions that the metric reads."""
    model, asked = ready.pair.model, ready.pair.asked
    last = len(ready.pair.graph.readers) - 1
    n_circuits, n_prompts = len(state.masks), ready.pair.n_prompts
    base = ready.replaced.final
    base = base.expand(n_prompts, *base.shape[1:])
    rows, at = torch.arange(n_prompts, device=model.device)[:, None], asked.read.to(model.device)
    late = at - ready.start
    changes = []
    for columns, change in state.changes:
        there = None if change is None else change[:, :, rows, late.clamp(min=0)] * (late >= 0)[None, None, :, :, None]
        changes.append((columns, there))
    here = base[rows, at]
    at_answer = _State(masks=state.masks, changes=changes, intact=False)
    seen = _mix(at_answer, here, [last])[:, 0] if _active(at_answer, slice(last, last + 1)) else here[None]
    logits = unembedded(model, seen)
    return logits.expand(n_circuits, *logits.shape[1:])
