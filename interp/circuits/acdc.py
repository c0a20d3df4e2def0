"""Automatic circuit discovery (Conmy et al. 2023, arXiv 2304.14997): remove edges one at a time, from the logits
down, as long as it does not matter.

An edge is removed (it carries its value in the corrupt run from then on) if that changes the metric by less than
`threshold`, measured in the circuit that is left by then. The change is the mean over prompts of its absolute value,
so that effects of both signs do not cancel. An edge's score is that change. What was removed below never counts
above: edges into nodes that lead nowhere score 0.

The edges of a reader are tried several at a time, each with all before it removed; from the first that has to stay it
goes on anew. The result is that of trying them one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from interp.circuits._attribution import pair_of
from interp.circuits._circuit import Circuit
from interp.circuits._masked import Masker, masked_values, masker
from interp.circuits._scored import scored

if TYPE_CHECKING:
    from torch import Tensor

    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


def acdc(
    model: Model,
    prompts: Prompts,
    *,
    metric: Metric = "logit_diff",
    threshold: float | None = None,
    ablation: str = "corrupt",
) -> Circuit:
    """The edges that have to stay, and every edge's score.

    threshold: in the metric's units; None takes 1 % of the difference between the clean and the replaced run.
    """
    pair = pair_of(model, prompts, metric)
    ready = masker(pair, ablation=ablation)
    edges = pair.graph.edges
    clean, empty = masked_values(torch.stack([edges.float(), torch.zeros(edges.shape)]), pair, prepared=ready)
    limit = 0.01 * float((clean - empty).abs().nanmean()) if threshold is None else threshold
    kept, values, runs = edges.clone(), clean, 4
    scores = torch.zeros(edges.shape).masked_fill(~edges, torch.nan)
    for row in _readers_from_the_logits(pair.graph.readers):
        if not _leads_somewhere(pair.graph, kept, row):
            kept[row] = False
            continue
        waiting = list(reversed(range(pair.graph.n_seen(row))))
        while waiting:
            tried = _one_after_the_other(ready, kept, row, waiting)
            runs += len(tried)
            before = torch.cat([values[None], tried[:-1]])
            changes = (tried - before).abs().nanmean(1)
            stays = (changes >= limit).nonzero()[:, 0].tolist()
            gone = stays[0] if stays else len(waiting)
            tested = waiting[: gone + 1]
            scores[row, tested] = changes[: len(tested)].float().cpu()
            kept[row, waiting[:gone]] = False
            values = tried[gone - 1] if gone else values
            waiting = waiting[gone + 1 :]
    return scored(pair, scores, "acdc", included=kept, passes=runs, threshold=limit, ablation=ablation)


def _readers_from_the_logits(readers: tuple[str, ...]) -> list[int]:
    return list(reversed(range(len(readers))))


def _leads_somewhere(graph, kept: Tensor, row: int) -> bool:  # type: ignore[no-untyped-def]
    """Whether anything listens to the node that this reader belongs to."""
    if row == len(graph.readers) - 1:
        return True
    return any(bool(kept[:, c].any()) for c in range(len(graph.writers)) if row in graph.rows_into(c))


def _one_after_the_other(ready: Masker, kept: Tensor, row: int, columns: list[int]) -> Tensor:
    """The metric [edge, prompt] with the first, the first two, … of these edges removed."""
    masks = kept.float().repeat(len(columns), 1, 1)
    for i in range(len(columns)):
        masks[i, row, columns[: i + 1]] = 0.0
    return masked_values(masks, ready.pair, prepared=ready)
