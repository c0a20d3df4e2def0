"""Changes and looks put in a module's way, each where its site lives, and counted as the pass goes by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from interp.models.attention import Edit
from interp.models.experts import edit_experts
from interp.models.shadowing import Put, on_input, on_output
from interp.models.site_tensors import Change, Look, Spot, View, as_it_is, blocks, place
from interp.models.sites import EXPERT_SITES, SCORE_SITES, in_stack

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from interp.models.handle import Model


class Done(Exception):
    """All that was asked for has been seen."""


def reach(
    model: Model,
    put: Put,
    changes: Mapping[Spot, Sequence[Change]],
    looks: Mapping[Spot, Look],
    calls: dict[Spot, int],
    shape: torch.Size,
) -> tuple[dict[Spot, Edit], dict[Spot, Edit]]:
    """Puts the changes and looks in the module's way, counting calls; gives back those of attention scores and of patterns."""
    parts = blocks(model)
    scores: dict[str, dict[Spot, Edit]] = {"attn_scores": {}, "pattern": {}}
    experts: dict[int, dict[str, tuple[Edit, bool]]] = {}
    for spot in calls:
        (site, layer), changed, look = spot, changes.get(spot, ()), looks.get(spot)
        if site in SCORE_SITES:
            stack, name = in_stack(site)
            scores[name][stack, layer] = _counted(spot, calls, _edit(changed, look))
        elif site in EXPERT_SITES:
            experts.setdefault(layer, {})[site] = _counted(spot, calls, _edit(changed, look)), bool(changed)
        else:
            where = place(model, site, layer, parts)
            view = _unflattened(where.view, shape) if where.flat else where.view
            edit = _edit(changed, look, view, in_place=where.in_place, scale=where.scale)
            (on_input if where.is_input else on_output)(put, where.module, _counted(spot, calls, edit))
    for layer, edits in experts.items():
        edit_experts(model, put, layer, edits, shape)
    return scores["attn_scores"], scores["pattern"]


def stop_after_the_last(looks: Mapping[Spot, Look]) -> dict[Spot, Look]:
    """The looks, of which the last one to be called ends the pass."""
    left = len(looks)

    def counted(look: Look) -> Look:
        def last_stops(tensor: Tensor) -> None:
            nonlocal left
            look(tensor)
            left -= 1
            if left == 0:
                raise Done

        return last_stops

    return {spot: counted(look) for spot, look in looks.items()}


def _counted(spot: Spot, calls: dict[Spot, int], edit: Edit) -> Edit:
    def counted(raw: Tensor) -> Tensor:
        calls[spot] += 1
        return edit(raw)

    return counted


def _unflattened(view: View, shape: torch.Size) -> View:
    return lambda raw: view(raw).unflatten(0, shape)  # the first axis is all positions of all prompts


def _edit(
    changed: Sequence[Change], look: Look | None, view: View = as_it_is, *, in_place: bool = False, scale: float = 1.0
) -> Edit:
    """What is made of a raw tensor: the changes, in their order, then the look. The site is `scale` times the view."""

    def edit(raw: Tensor) -> Tensor:
        raw = raw.clone() if changed and not in_place else raw
        shown = view(raw) if scale == 1.0 else view(raw) * scale
        for change in changed:
            change(shown)
        if look is not None:
            look(shown)
        if changed and scale != 1.0:
            view(raw).copy_(shown / scale)
        return raw

    return edit
