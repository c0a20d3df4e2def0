"""What is left of the behaviour when components or edges are taken out: the runs that every verdict is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from interp.circuits._attribution import Pair, parts
from interp.circuits._masked import Masker, masked_logits, masked_values, masker, measure

AT_ONCE = 256  # masks handed on together: bounds the memory of the masks themselves
SHARES = (0.25, 0.5, 0.75, 1.0)
"""To which shares components are kept where gradients are taken. The last is the clean run, where EAP takes them; the others
see what is saturated there, and what wakes up where little is written."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """A question and its two ends: `f` is in units of clean − empty, 1 for the whole model and 0 for no edge."""

    pair: Pair
    ablation: str
    clean: float
    empty: float
    prepared: Masker | None = None

    def f(self, masks: Iterable[torch.Tensor]) -> Float[np.ndarray, "mask"]:
        """Faithfulness of every mask [reader, writer]."""
        found = []
        waiting: list[torch.Tensor] = []
        for mask in masks:
            waiting.append(mask)
            if len(waiting) == AT_ONCE:
                found.append(self._means(waiting))
                waiting = []
        if waiting:
            found.append(self._means(waiting))
        values = np.concatenate(found) if found else np.zeros(0)
        return (values - self.empty) / (self.clean - self.empty)

    def _means(self, masks: list[torch.Tensor]) -> Float[np.ndarray, "mask"]:
        values = masked_values(torch.stack(masks).float(), self.pair, ablation=self.ablation, prepared=self.prepared)
        return values.nanmean(1).double().cpu().numpy()

    def effects(self, groups: Sequence[tuple[str, ...]], within: Bool[torch.Tensor, "reader writer"]) -> list[float]:
        """f lost when nothing hears the components of a group any more, in the circuit `within`."""
        columns = {name: column for column, name in enumerate(self.pair.graph.writers)}
        masks = [without(within, [columns[name] for name in group]) for group in groups]
        base, *left = self.f([within, *masks])
        return [float(base - value) for value in left]


def ground(pair: Pair, ablation: str, *, keep: bool = False) -> Ground:
    """The question with its ends measured. keep: hold what masked runs share in memory, for a few prompts and many runs."""
    edges = pair.graph.edges
    ends = torch.stack([edges.float(), torch.zeros(edges.shape)])
    ready = masker(pair, ablation=ablation) if keep else None
    clean, empty = masked_values(ends, pair, ablation=ablation, prepared=ready).nanmean(1).tolist()
    return Ground(pair=pair, ablation=ablation, clean=clean, empty=empty, prepared=ready)


def turned_round(pair: Pair) -> Pair:
    """The same question with the runs exchanged: taking a component out of it is denoising, its clean value put into the
    corrupt run."""
    asked = pair.asked
    return replace(pair, asked=replace(asked, clean=asked.corrupt, corrupt=asked.clean))


def gradients(
    here: Ground, masks: Float[torch.Tensor, "mask reader writer"]
) -> Float[np.ndarray, "mask reader writer"]:
    """At every mask, the first-order effect of every edge, in units of f: d f / d (how much of it is kept). NaN where the metric
    has no gradient."""
    pair, flows = here.pair, False
    sums = np.zeros(masks.shape)
    for rows, part in parts(pair):
        ready = masker(part, ablation=here.ablation)
        weight = (rows.stop - rows.start) / pair.n_prompts
        for place, at in enumerate(masks):
            mask = at.clone().requires_grad_()
            with torch.enable_grad():
                value = measure(ready, masked_logits(ready, mask[None])).nanmean()
                if not value.requires_grad:  # the metric has none, or nothing that is kept reaches the logits
                    continue
                (slope,) = torch.autograd.grad(value, [mask], allow_unused=True)
            flows = True
            if slope is not None:
                sums[place] += weight * slope.double().cpu().numpy()
    return sums / (here.clean - here.empty) if flows else np.full_like(sums, np.nan)


def faded(edges: Bool[torch.Tensor, "reader writer"]) -> Float[torch.Tensor, "share reader writer"]:
    """All components kept to each of SHARES, the embedding whole."""
    masks = edges.float()[None] * torch.tensor(SHARES)[:, None, None]
    masks[:, :, 0] = edges[:, 0].float()
    return masks


def without(mask: Bool[torch.Tensor, "reader writer"], columns: Sequence[int]) -> Bool[torch.Tensor, "reader writer"]:
    left = mask.clone()
    left[:, list(columns)] = False
    return left
