"""Edge pruning (Bhaskar et al. 2024, arXiv 2406.16778; subnetwork probing, Cao et al. 2021): learn which edges can go.

Every edge has a hard-concrete gate (Louizos et al. 2018); gates and metric are trained together on

    mean over prompts of ((m(gates) − m(all)) / (m(all) − m(none)))²  +  sparsity · expected share of open gates.

The score of an edge is its gate's probability of being open; the circuit is the edges above one half. It sees
interactions that scoring edges one by one cannot, at the price of many runs, and depends on the seed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from interp.circuits._attribution import pair_of
from interp.circuits._circuit import Circuit
from interp.circuits._masked import masked_logits, masked_values, masker, measure
from interp.circuits._scored import scored

if TYPE_CHECKING:
    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts

LOW, HIGH, TEMPERATURE = -0.1, 1.1, 2 / 3  # the hard-concrete distribution's usual stretch and temperature


def edge_pruning(
    model: Model,
    prompts: Prompts,
    *,
    metric: Metric = "logit_diff",
    steps: int = 150,
    learning_rate: float = 0.15,
    sparsity: float = 1.0,
    seed: int = 0,
    ablation: str = "corrupt",
) -> Circuit:
    """Gates after `steps` of Adam, all open at first."""
    pair = pair_of(model, prompts, metric)
    ready, edges = masker(pair, ablation=ablation), pair.graph.edges
    whole, empty = masked_values(torch.stack([edges.float(), torch.zeros(edges.shape)]), pair, prepared=ready)
    span = float((whole - empty).nanmean().abs()) or 1.0
    rng = torch.Generator().manual_seed(seed)
    openness = torch.full((int(edges.sum()),), 3.0, requires_grad=True)
    optimiser = torch.optim.Adam([openness], lr=learning_rate, betas=(0.9, 0.95))
    for _ in range(steps):
        mask = torch.zeros(edges.shape).masked_scatter(edges, _sample(openness, rng))
        with torch.enable_grad():
            found = measure(ready, masked_logits(ready, mask[None]))[0]
            loss = ((found - whole) / span).square().nanmean() + sparsity * _open(openness).mean().to(found.device)
            (openness.grad,) = torch.autograd.grad(loss, [openness])
        optimiser.step()
    scores = torch.full(edges.shape, torch.nan)
    scores[edges] = _open(openness.detach())
    return scored(
        pair,
        scores,
        "edge-pruning",
        included=scores.nan_to_num() > 0.5,
        passes=4 + 3 * steps,
        steps=steps,
        sparsity=sparsity,
        seed=seed,
        ablation=ablation,
    )


def _sample(openness: Tensor, rng: torch.Generator) -> Tensor:
    """Gates in [0, 1], exactly 0 or 1 with positive probability, differentiable in `openness`."""
    noise = torch.rand(openness.shape, generator=rng).clamp(1e-6, 1 - 1e-6)
    soft = torch.sigmoid((noise.log() - (-noise).log1p() + openness) / TEMPERATURE)
    return (soft * (HIGH - LOW) + LOW).clamp(0, 1)


def _open(openness: Tensor) -> Tensor:
    """The probability that a gate is not 0."""
    return torch.sigmoid(openness - TEMPERATURE * math.log(-LOW / HIGH))
