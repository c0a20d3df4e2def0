"""Attributions and the logit lens as figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError
from interp.figures import grids, plots
from interp.models.site_tensors import check_indices

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go


UNIT = "logits"
"""Of logit(answer) - logit(wrong), averaged over prompts."""


def attribution_figure(found: Any, most: int) -> go.Figure:
    """What `Attribution.plot` draws."""
    if found.by == "head" and "head" in found:
        heads = found["head"].nanmean(-1)
        beside = [part for part in ("attn_bias", "mlp") if part in found]
        grid = torch.cat([heads, *(found[part].nanmean(-1)[:, None] for part in beside)], dim=1)
        rest = ", ".join(
            f"{part} {float(found[part].nanmean()):.3g}" for part in ("embed", "pos_embed", "bias") if part in found
        )
        return grids.heatmap(
            grid.numpy(),
            [f"L{layer}" for layer in range(len(grid))],
            [*(f"H{head}" for head in range(heads.shape[1])), *beside],
            title=f"Direct effect on logit(answer) - logit(wrong); {rest}",
            row_title="layer",
            column_title="component",
            unit=UNIT,
            centre=0.0,
        )
    means = found.means()
    names = sorted(means, key=lambda name: -abs(means[name]) if means[name] == means[name] else 0)[:most]
    shown = [name for name in means if name in set(names)]
    title = f"Direct effect on logit(answer) - logit(wrong), by {found.by}"
    title += f" (the {most} largest of {len(means)})" if len(means) > most else ""
    return plots.bars(shown, {"": [means[name] for name in shown]}, title=title, unit=UNIT, signed=True)


def lens_figure(logits: Any, prompt: int, labels: Sequence[str] | None, token: int | None) -> go.Figure:
    """What `LensLogits.plot` draws."""
    prompt = check_indices("prompt", prompt, logits.shape[1])[0]
    probabilities = logits[:, prompt].float().softmax(-1).cpu()
    if token is None:
        values, best = probabilities.max(-1)
        text = [[logits.text(int(one)) for one in row] for row in best]
        title, unit = "The token that each layer would say", "its probability"
    else:
        token = check_indices("token", token, logits.shape[-1])[0]
        values, text = probabilities[..., token], None
        title, unit = f"When {logits.text(token)!r} is said", "its probability"
    names = list(labels) if labels is not None else [str(place) for place in range(values.shape[1])]
    if len(names) != values.shape[1]:
        raise InputError(f"expected {values.shape[1]} labels, one a position, got {len(names)}")
    return grids.heatmap(
        values.numpy(),
        [f"L{layer}" for layer in logits.layers],
        names,
        title=title,
        row_title="after layer",
        column_title="position",
        unit=unit,
        text=text,
    )
