"""One forward pass of the plain module with edits and look-outs at chosen sites, leaving everything as it was.

Where a pass is only wanted for what it keeps, it stops as soon as the last of it has gone by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from interp.models.attention import Edit, edited_attention
from interp.models.by_bridge import run_bridge
from interp.models.experts import edit_experts
from interp.models.shadowing import Put, evaluating, on_input, on_output, shadowing
from interp.models.site_tensors import Change, Look, Spot, View, as_it_is, blocks, mapped, place
from interp.models.sites import EXPERT_SITES, SCORE_SITES

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from interp.models.handle import Model


class _Done(Exception):
    """Everything that was asked for has been seen."""


def run(
    model: Model,
    tokens: Int[Tensor, "prompt pos"],
    mask: Bool[Tensor, "prompt pos"] | None = None,
    *,
    changes: Mapping[Spot, Sequence[Change]] | None = None,
    looks: Mapping[Spot, Look] | None = None,
    logits_at: Int[Tensor, "prompt chosen"] | None = None,
    logits: bool = True,
) -> Float[Tensor, "prompt pos vocab"] | None:
    """The logits of a pass with these changes and looks; None (and no unembedding) if `logits` is false.

    At one site the changes come first, in their order, and the look sees what they leave. `logits_at` unembeds these
    positions only. Gradients flow as the caller's grad mode says; dropout is off, whatever the module's mode.
    """
    if model.opaque:
        with evaluating(model.module):
            everywhere = model(tokens, mask)
        return everywhere if logits_at is None else everywhere[_rows(model, logits_at), logits_at.to(model.device)]
    if model.sites is None:
        return run_bridge(model, tokens, mask, changes=changes or {}, looks=looks or {}, logits_at=logits_at)
    inputs, seen = model.inputs(tokens, mask), looks or {}
    with evaluating(model.module), shadowing() as put:
        shape = tokens.shape
        scores, patterns = _reach(model, put, changes or {}, seen if logits else _stop_after_the_last(seen), shape)
        if logits_at is not None:
            rows, at = _rows(model, logits_at), logits_at.to(model.device)
            on_input(put, model.module.get_submodule(mapped(model).unembed), lambda stream: stream[rows, at])
        with edited_attention(model, scores, patterns):
            try:
                output = model.module(**inputs)
            except _Done:
                return None
    return output if isinstance(output, torch.Tensor) else output.logits


def _rows(model: Model, logits_at: Int[Tensor, "prompt chosen"]) -> Int[Tensor, "prompt 1"]:
    return torch.arange(len(logits_at), device=model.device)[:, None]


def _reach(
    model: Model, put: Put, changes: Mapping[Spot, Sequence[Change]], looks: Mapping[Spot, Look], shape: torch.Size
) -> tuple[dict[int, Edit], dict[int, Edit]]:
    """Puts the changes and looks in the module's way; those of attention scores and of patterns are given back by layer."""
    parts = blocks(model)
    scores: dict[str, dict[int, Edit]] = {site: {} for site in SCORE_SITES}
    experts: dict[int, dict[str, tuple[Edit, bool]]] = {}
    for site, layer in {**changes, **looks}:
        changed, look = changes.get((site, layer), ()), looks.get((site, layer))
        if site in SCORE_SITES:
            scores[site][layer] = _edit(changed, look)
        elif site in EXPERT_SITES:
            experts.setdefault(layer, {})[site] = _edit(changed, look), bool(changed)
        else:
            where = place(model, site, layer, parts)
            view = _unflattened(where.view, shape) if where.flat else where.view
            edit = _edit(changed, look, view, in_place=where.in_place, scale=where.scale)
            (on_input if where.is_input else on_output)(put, where.module, edit)
    for layer, edits in experts.items():
        edit_experts(model, put, layer, edits, shape)
    return scores["attn_scores"], scores["pattern"]


def _stop_after_the_last(looks: Mapping[Spot, Look]) -> dict[Spot, Look]:
    """The looks, of which the last one to be called ends the pass."""
    left = len(looks)

    def counted(look: Look) -> Look:
        def last_stops(tensor: Tensor) -> None:
            nonlocal left
            look(tensor)
            left -= 1
            if left == 0:
                raise _Done

        return last_stops

    return {spot: counted(look) for spot, look in looks.items()}


def _unflattened(view: View, shape: torch.Size) -> View:
    """The view of a tensor whose first axis is all positions of all prompts."""
    return lambda raw: view(raw).unflatten(0, shape)


def _edit(
    changed: Sequence[Change], look: Look | None, view: View = as_it_is, *, in_place: bool = False, scale: float = 1.0
) -> Edit:
    """What is made of a raw tensor: the changes, in their order, then the look. The site is `scale` times the view."""

    def scaled(raw: Tensor) -> Tensor:
        shown = view(raw) * scale
        for change in changed:
            change(shown)
        if look is not None:
            look(shown)
        if not changed:
            return raw
        raw = raw.clone()
        view(raw).copy_(shown / scale)
        return raw

    def edit(raw: Tensor) -> Tensor:
        if changed:
            raw = raw if in_place else raw.clone()
            for change in changed:
                change(view(raw))
        if look is not None:
            look(view(raw))
        return raw

    return edit if scale == 1.0 else scaled
