"""Optimal ablation (Li and Janson 2024, arXiv 2409.09951): what is left out carries the constant that hurts the least.

The constants, one a writer and position, start at the means over the corrupt runs and are trained on

    mean over prompts of KL(model || circuit) of the next-token distributions where the metric reads.

Zero, mean and corrupt values can hurt by being unusual; with the best constants only what really depends on the prompt is missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from interp.circuits._circuit import Circuit
from interp.circuits._masked import Masker, masked_logits, masker, measure
from interp.circuits._replacement import replacement
from interp.circuits.testing.faithfulness import checked_pair, normalised

if TYPE_CHECKING:
    from interp.circuits._attribution import Pair
    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


def optimal_faithfulness(
    model: Model,
    prompts: Prompts,
    circuit: Circuit,
    *,
    metric: Metric | None = None,
    steps: int = 60,
    learning_rate: float = 0.05,
) -> float:
    """f of the edges that are in the circuit; m(∅) is the metric with every writer at its constant."""
    pair = checked_pair(model, prompts, circuit, metric)
    ready = optimal_masker(pair, circuit, steps=steps, learning_rate=learning_rate)
    ends = torch.stack([circuit.included, pair.graph.edges, torch.zeros_like(circuit.included)]).float()
    with torch.no_grad():
        values = torch.cat([measure(ready, masked_logits(ready, one[None])) for one in ends]).nanmean(1).tolist()
    return normalised(values[0], values[1], values[2])


def optimal_masker(pair: Pair, circuit: Circuit, *, steps: int = 60, learning_rate: float = 0.05) -> Masker:
    """Masked runs in which what is left out carries the constants trained for this circuit."""
    ready, mask = masker(pair, ablation="mean"), circuit.included.float()[None]
    fixed, model = ready.replaced, pair.model
    constants = [t.detach().clone().requires_grad_() for t in (fixed.embed, *fixed.z, *fixed.mlp)]
    n_layers = len(fixed.z)
    optimiser = torch.optim.Adam(constants, lr=learning_rate)
    target = ready.clean.logits.float().log_softmax(-1)

    def assembled(values: list[Tensor]) -> Masker:
        made = replacement(model, values[0], values[1 : 1 + n_layers], values[1 + n_layers :])
        return Masker(pair=pair, clean=ready.clean, replaced=made, start=0)

    for _ in range(steps):
        with torch.enable_grad():
            found = masked_logits(assembled(constants), mask)[0].float().log_softmax(-1)
            loss = (target.exp() * (target - found)).sum(-1).mean()
            grads = torch.autograd.grad(loss, constants, allow_unused=True, materialize_grads=True)
        for constant, grad in zip(constants, grads, strict=True):
            constant.grad = grad
        optimiser.step()
    with torch.no_grad():
        return assembled([constant.detach() for constant in constants])
