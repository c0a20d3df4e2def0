"""Activations over a data set larger than memory, in reductions of constant size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from interp.errors import InputError, unknown
from interp.hooks.activations import capture
from interp.hooks.streaming import Stream, pairs_of
from interp.models.site_tensors import resolve_positions
from interp.models.sites import SCORE_SITES

if TYPE_CHECKING:
    from torch import Tensor

    from interp.models import Model

REDUCTIONS = ("mean", "variance", "covariance", "max", "histogram", "top_k")


@dataclass(slots=True, kw_only=True, eq=False)
class Reduced:
    """Reductions of one site so far, over the unmasked positions seen; feature axes are the site's own ([head,] dimension).

    n: positions seen. mean, variance (of the population), max: [layer, …feature]. covariance: [layer, (head,) d, d].
    histogram: [layer, …feature, bin], counts below, between and above the edges. top_k: the largest values [layer, …feature,
    k], top_k_examples: [layer, …feature, k, 2], prompt and position of each. Sums are kept in float64 (Chan et al. 1979).
    """

    n: int = 0
    mean: Tensor | None = None
    scatter: Tensor | None = None
    spread: Tensor | None = None
    max: Tensor | None = None
    histogram: Tensor | None = None
    top_k: Tensor | None = None
    top_k_examples: Tensor | None = None
    asked: frozenset[str] = field(default_factory=frozenset)

    @property
    def variance(self) -> Tensor | None:
        return None if self.scatter is None else self.scatter / self.n

    @property
    def covariance(self) -> Tensor | None:
        return None if self.spread is None else self.spread / self.n


def reduce_stream(
    model: Model,
    stream: Stream,
    sites: str | Sequence[str] = ("resid_post",),
    reductions: Sequence[str] = ("mean", "variance"),
    *,
    layers: int | Sequence[int] | None = None,
    heads: int | Sequence[int] | None = None,
    positions: int | Sequence[int] | None = None,
    edges: Sequence[float] | None = None,
    k: int = 10,
) -> Mapping[str, Reduced]:
    """Site -> reductions over all prompts and positions of a stream, in memory that does not grow with it.

    reductions: any of `REDUCTIONS`; `histogram` needs `edges`, `top_k` takes `k`.
    """
    wanted = (sites,) if isinstance(sites, str) else tuple(sites)
    for name in reductions:
        if name not in REDUCTIONS:
            raise unknown("reduction", name, REDUCTIONS)
    if "histogram" in reductions:
        _check_edges(edges)
    if "top_k" in reductions and (not isinstance(k, int) or k < 1):
        raise InputError(f"k is {k!r}; the largest values are at least one")
    for site in wanted:
        if site in SCORE_SITES:
            raise InputError(f"{site} has pairs of positions; capture it to disk instead")
    found = {site: Reduced(asked=frozenset(reductions)) for site in wanted}
    n_prompts = 0
    for tokens, mask in pairs_of(stream):
        kept = capture(model, tokens, wanted, layers=layers, heads=heads, positions=positions, mask=mask, device="cpu")
        at = resolve_positions(positions, tokens, mask)
        places = torch.arange(tokens.shape[1]).expand_as(tokens) if at is None else at
        valid = mask.gather(1, places)
        examples = torch.stack([torch.arange(len(tokens))[:, None].expand_as(places) + n_prompts, places], -1)[valid]
        for site in wanted:
            update(found[site], kept[site][:, valid].double(), examples, edges=edges, k=k)
        n_prompts += len(tokens)
    return found


def _check_edges(edges: Sequence[float] | None) -> None:
    if edges is None or not len(edges):
        raise InputError("a histogram needs the edges of its bins")
    if not all(low < high for low, high in pairwise(edges)) or not all(map(math.isfinite, edges)):
        raise InputError(f"the edges of a histogram's bins are finite and rise; got {list(edges)}")


def update(state: Reduced, x: Tensor, examples: Tensor, *, edges: Sequence[float] | None = None, k: int = 10) -> None:
    """Takes in x [layer, sample, …feature] (float64) that was seen at `examples` [sample, 2]."""
    n = x.shape[1]
    if n == 0:
        return
    total = state.n + n
    mean = x.mean(1)
    old = torch.zeros_like(mean) if state.mean is None else state.mean
    delta, centred = mean - old, x - mean[:, None]
    weight = state.n * n / total
    if "variance" in state.asked:
        added = (centred**2).sum(1) + delta**2 * weight
        state.scatter = added if state.scatter is None else state.scatter + added
    if "covariance" in state.asked:
        by_feature = centred.movedim(1, -2)  # layer (head) sample d
        added = by_feature.mT @ by_feature + delta[..., :, None] * delta[..., None, :] * weight
        state.spread = added if state.spread is None else state.spread + added
    state.mean, state.n = old + delta * (n / total), total
    if "max" in state.asked:
        state.max = x.amax(1) if state.max is None else torch.maximum(state.max, x.amax(1))
    if "histogram" in state.asked:
        counts = torch.stack([_counts(layer, torch.tensor(edges, dtype=x.dtype)) for layer in x])
        state.histogram = counts if state.histogram is None else state.histogram + counts
    if "top_k" in state.asked:
        _update_top(state, x.movedim(1, -1), examples, k)


def _counts(x: Tensor, edges: Tensor) -> Tensor:
    """[…feature, bin]: how many samples of x [sample, …feature] are in each bin. Every feature's bins are numbered on from
    those of the one before, so that one count serves all, in memory of a few times x."""
    shape, n_bins = x.shape[1:], len(edges) + 1
    features = x.flatten(1)
    bins = torch.bucketize(features, edges).add_(torch.arange(features.shape[1]) * n_bins)
    return bins.flatten().bincount(minlength=features.shape[1] * n_bins).reshape(*shape, n_bins)


def _update_top(state: Reduced, x: Tensor, examples: Tensor, k: int) -> None:
    """x: [layer, …feature, sample]."""
    values, index = x.topk(min(k, x.shape[-1]), dim=-1)
    where = examples[index]
    if state.top_k is not None and state.top_k_examples is not None:
        values, where = torch.cat([state.top_k, values], -1), torch.cat([state.top_k_examples, where], -2)
        values, index = values.topk(min(k, values.shape[-1]), dim=-1)
        where = where.gather(-2, index[..., None].expand(*index.shape, 2))
    state.top_k, state.top_k_examples = values, where
