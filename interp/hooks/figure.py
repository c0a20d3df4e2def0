"""Activations as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from interp.errors import InputError, unknown
from interp.figures import grids
from interp.models.site_tensors import check_indices

if TYPE_CHECKING:
    import plotly.graph_objects as go


def activation_figure(
    acts: Any, site: str | None, *, prompt: int | None, layer: int, labels: Sequence[str] | None
) -> go.Figure:
    """What `Activations.plot` draws."""
    if site is None:
        site = next(iter(acts), "")
    if site not in acts:
        raise unknown("captured site", site, list(acts))
    dims, values = acts.dims(site), acts[site].detach().float().cpu()
    if prompt is not None:
        prompt = check_indices("prompt", prompt, values.shape[1])[0]
    layers = acts.coords[site].get("layer", list(range(values.shape[0])))
    layer = check_indices("layer", layer, len(layers))[0]
    if dims[-2:] == ("query", "key"):
        one = values[layer, prompt or 0]
        if one.shape[1] != one.shape[2]:
            raise InputError(f"{site} was captured at {one.shape[1]} of {one.shape[2]} queries; a square shows all")
        heads = acts.coords[site].get("head", list(range(len(one))))
        titles = [f"L{layers[layer]}H{head}" for head in heads]
        names = _labels(labels, one.shape[2])
        return grids.squares(one.numpy(), names, titles, title=f"{site}, prompt {prompt or 0}")
    norms = values.norm(dim=-1) if prompt is None else values[:, [prompt]].norm(dim=-1)
    by_place = norms.mean(1)  # [layer, pos] or [layer, pos, head]
    each = "prompts averaged" if prompt is None else f"prompt {prompt}"
    if by_place.dim() == 3:
        part = dims[3]
        columns = [str(place) for place in acts.coords[site].get(part, range(by_place.shape[2]))]
        grid, title = by_place.mean(1), f"{site}: norm of every {part}, positions and {each}"
    else:
        part = "position"
        positions = acts.coords[site].get("pos", list(range(by_place.shape[1])))
        columns = _labels(labels, by_place.shape[1], [str(place) for place in positions])
        grid, title = by_place, f"{site}: norm, {each}"
    return grids.heatmap(
        grid.numpy(), layers, columns, title=title, row_title="layer", column_title=part, unit="L2 norm"
    )


def _labels(labels: Sequence[str] | None, n: int, otherwise: Sequence[str] = ()) -> list[str]:
    if labels is not None and len(labels) != n:
        raise InputError(f"expected {n} labels, one a position, got {len(labels)}")
    return list(labels or otherwise or map(str, range(n)))
