"""Completeness (Wang et al. 2022, arXiv 2211.00593), in units of the whole behaviour m(M) − m(∅).

incompleteness: |f(C \\ K) − f(M \\ K)| for subsets K of the circuit's edges: does the model have a way around what is
    left out of C?
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from interp.circuits._circuit import Circuit
from interp.circuits.testing.faithfulness import checked_pair, means_under, normalised

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """For every subset K: f of the circuit and of the model without it. The first subset is the empty one."""

    circuit: tuple[float, ...]
    model: tuple[float, ...]

    @property
    def worst(self) -> float:
        """The largest incompleteness: 0 for a complete circuit."""
        return max(abs(a - b) for a, b in zip(self.circuit, self.model, strict=True))


def completeness(
    model: Model,
    prompts: Prompts,
    circuit: Circuit,
    *,
    rng: torch.Generator,
    n_subsets: int = 20,
    ablation: str = "corrupt",
    metric: Metric | None = None,
) -> Completeness:
    """Random subsets K of the circuit's edges, each edge in K with the same probability, itself uniform over [0, 1]."""
    pair = checked_pair(model, prompts, circuit, metric)
    subsets = _subsets(circuit, n_subsets, rng)
    masks = torch.cat([circuit.included & ~subsets, pair.graph.edges & ~subsets]).float()
    values, clean, empty = means_under(pair, masks, ablation=ablation)
    shares = [normalised(value, clean, empty) for value in values]
    return Completeness(circuit=tuple(shares[: len(subsets)]), model=tuple(shares[len(subsets) :]))


def _subsets(circuit: Circuit, n: int, rng: torch.Generator) -> Float[Tensor, "subset reader writer"]:
    """The empty subset, then `n` random ones."""
    rates = torch.rand(n, 1, 1, generator=rng)
    drawn = torch.rand(n, *circuit.included.shape, generator=rng) < rates
    return torch.cat([torch.zeros_like(circuit.included)[None], drawn & circuit.included])
