"""Exact edge patching: what one edge is worth, everything else left in place.

    score(u->r) = m(all edges) − m(all edges but u->r, which carries its value in the corrupt run), mean over prompts.

The truth that attribution approximates, at one masked run an edge; an edge that another one backs up scores nothing.
Equals path patching from u directly into r.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from interp.circuits._attribution import pair_of
from interp.circuits._circuit import Circuit
from interp.circuits._masked import masked_values, masker
from interp.circuits._scored import scored

if TYPE_CHECKING:
    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts

AT_ONCE = 256


def exact(model: Model, prompts: Prompts, *, metric: Metric = "logit_diff", ablation: str = "corrupt") -> Circuit:
    """Every edge's own effect. ablation: `corrupt`, `zero` or `mean`, what the edge carries instead."""
    pair = pair_of(model, prompts, metric)
    ready = masker(pair, ablation=ablation)
    edges = pair.graph.edges
    places = edges.nonzero()
    clean = masked_values(edges.float()[None], pair, prepared=ready)
    scores = torch.full(edges.shape, torch.nan)
    for chunk in places.split(AT_ONCE):
        masks = edges.float().repeat(len(chunk), 1, 1)
        masks[torch.arange(len(chunk)), chunk[:, 0], chunk[:, 1]] = 0.0
        effects = (clean - masked_values(masks, pair, prepared=ready)).nanmean(1)
        scores[chunk[:, 0], chunk[:, 1]] = effects.float().cpu()
    return scored(pair, scores, "exact", passes=2 + len(places), ablation=ablation)
