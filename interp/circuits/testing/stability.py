"""The noise floor: how much of a circuit comes back when the prompts are drawn again; and whether it holds
elsewhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from interp.circuits._attribution import choose
from interp.circuits._circuit import Circuit
from interp.circuits._edges_from_nodes import edges_between
from interp.circuits._find import find_circuit
from interp.circuits.testing.faithfulness import of_circuit

if TYPE_CHECKING:
    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """Over pairs of resamplings: overlap of the chosen edges (Jaccard) and of all scores (weighted Jaccard). At least
    0.8 is the guideline; published circuits reach 0.67. frequency: edge -> share of the resamplings that chose it."""

    jaccard: tuple[float, ...]
    similarity: tuple[float, ...]
    frequency: Mapping[str, float]

    @property
    def mean_jaccard(self) -> float:
        return float(np.mean(self.jaccard)) if self.jaccard else math.nan

    @property
    def mean_similarity(self) -> float:
        return float(np.mean(self.similarity)) if self.similarity else math.nan


def stability(
    model: Model,
    prompts: Prompts,
    *,
    n_edges: int,
    rng: torch.Generator,
    method: str = "eap-ig",
    metric: Metric = "logit_diff",
    n_resamples: int = 10,
) -> Stability:
    """Bootstrap over prompts: the best `n_edges` of every resampling (of a method that scores nodes, those between the
    best nodes), compared pairwise."""
    circuits = []
    for _ in range(n_resamples):
        rows = torch.randint(len(prompts.clean), (len(prompts.clean),), generator=rng)
        circuits.append(edges_between(find_circuit(model, choose(prompts, rows), method, metric)).top(n_edges))
    pairs = list(itertools.combinations(circuits, 2))
    chosen = [name for circuit in circuits for name in circuit.edges()]
    return Stability(
        jaccard=tuple(a.jaccard(b) for a, b in pairs),
        similarity=tuple(a.similarity(b) for a, b in pairs),
        frequency={name: chosen.count(name) / n_resamples for name in dict.fromkeys(chosen)},
    )


def transfer(
    circuit: Circuit, cases: Mapping[str, tuple[Model, Prompts]], *, ablation: str = "corrupt"
) -> dict[str, float]:
    """Faithfulness of one circuit in other models (of the same shape) and on other prompts, by name of the case."""
    return {name: of_circuit(model, prompts, circuit, ablation=ablation) for name, (model, prompts) in cases.items()}
