"""Hypothesis tests of a circuit with the power that they have: what they could have seen on that many prompts.

A test that does not reject says little where it could not have seen anything: so each comes with the smallest effect that it
finds in POWER of the cases, at LEVEL.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binom

from interp.circuits._circuit import Circuit
from interp.circuits._graph import edge_names
from interp.circuits.testing.hypotheses import Test, equivalence, holm, hsic_test, independence, knockouts, sign_test
from interp.files import plain

if TYPE_CHECKING:
    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts

LEVEL, POWER = 0.05, 0.8  # usual choices
TOLERANCE = 0.1  # of `equivalence`
N_REFERENCE = 200
SIMULATED, PERMUTATIONS = 60, 99  # draws a size, permutations a draw: the smallest correlation to about .05
MOST_SIMULATED = 64
"""Beyond so many prompts the smallest correlation is that at this number, times √(this / n)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitTests:
    """The three tests of Shi et al. (2024) and the smallest effects that they could see.

    equivalence: the statistic is the share of prompts on which the circuit does better than the model; `equivalence_sees` the
        share from which on it would be rejected (1 − it on the other side), NaN where no share is.
    independence: of the behaviour and what is left without the circuit; `independence_sees` the correlation (normal, linear)
        that would be found.
    minimality: edge -> test; `minimality_sees` the change, in the metric's units, that an edge must exceed to be told from
        paths added at random. NaN: there are too few such paths for any edge to be.
    passes: what all this cost, in runs of the prompts.
    """

    equivalence: Test
    equivalence_sees: float
    independence: Test
    independence_sees: float
    minimality: Mapping[str, Test]
    minimality_sees: float
    passes: int

    def summary(self) -> str:
        """Three lines, each with what could have been seen."""
        needed = sum(test.p <= LEVEL for test in self.minimality.values())
        kept = "rejected" if self.equivalence.p <= LEVEL else "not rejected"
        free = "rejected" if self.independence.p <= LEVEL else "not rejected"
        return "\n".join(
            [
                f"equivalence {kept} (p {self.equivalence.p:.3f}; circuit better on {self.equivalence.statistic:.2f} of the "
                f"prompts, would be seen: {_seen(self.equivalence_sees)})",
                f"independence of the rest {free} (p {self.independence.p:.3f}; correlation that would be seen: "
                f"{_seen(self.independence_sees)})",
                f"minimality: {needed} of {len(self.minimality)} edges matter more than random paths (change that would be "
                f"seen: {_seen(self.minimality_sees, '.3g')})",
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data; NaN becomes null."""
        return plain(
            {
                "equivalence": asdict(self.equivalence) | {"smallest_seen": self.equivalence_sees},
                "independence": asdict(self.independence) | {"smallest_seen": self.independence_sees},
                "minimality": {edge: asdict(test) for edge, test in self.minimality.items()},
                "minimality_smallest_seen": self.minimality_sees,
                "cost_in_forward_passes": self.passes,
            }
        )


def circuit_tests(
    model: Model, prompts: Prompts, circuit: Circuit, *, ablation: str, metric: Metric | None, seed: int = 0
) -> CircuitTests:
    """All three, on these prompts. The cost is 6 runs, one an edge, and one for each of up to 200 random paths."""
    rng = np.random.default_rng(seed)
    same = equivalence(model, prompts, circuit, tolerance=TOLERANCE, ablation=ablation, metric=metric)
    free = independence(model, prompts, circuit, rng=rng, ablation=ablation, metric=metric)
    out = knockouts(model, prompts, circuit, rng=rng, n_reference=N_REFERENCE, ablation=ablation, metric=metric)
    raw = np.array([(1 + (out.reference >= own).sum()) / (1 + len(out.reference)) for own in out.own])
    names = edge_names(circuit.graph, circuit.included)
    return CircuitTests(
        equivalence=same,
        equivalence_sees=smallest_share(same.n),
        independence=free,
        independence_sees=smallest_correlation(free.n),
        minimality={
            name: Test(statistic=float(own), p=float(p), n=out.n_prompts)
            for name, own, p in zip(names, out.own, holm(raw), strict=True)
        },
        minimality_sees=out.smallest(LEVEL),
        passes=5 + len(out.own) + len(out.reference),
    )


@cache
def smallest_share(n: int, tolerance: float = TOLERANCE) -> float:
    """The share of prompts on which one side does better that `sign_test` rejects in POWER of the cases; NaN if none."""
    rejected = [
        k for k in range(n + 1) if sign_test(np.where(np.arange(n) < k, 1.0, -1.0), tolerance=tolerance).p <= LEVEL
    ]
    for share in np.arange(51, 101) / 100:
        if binom.pmf(rejected, n, share).sum() >= POWER:
            return float(share)
    return math.nan


@cache
def smallest_correlation(n: int) -> float:
    """The correlation of two normal quantities that `hsic_test` finds in POWER of simulated cases; NaN below 8 prompts or
    where even the largest tried, .95, is missed."""
    size = min(n, MOST_SIMULATED)
    if n < 8:
        return math.nan
    tried = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.95)
    place = bisect_left(tried, True, key=lambda r: _found(r, size) >= POWER)
    return tried[place] * math.sqrt(size / n) if place < len(tried) else math.nan


def _found(r: float, size: int) -> float:
    """The share of simulated pairs of correlation `r` that the test finds."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(SIMULATED):
        x, e = rng.standard_normal((2, size))
        hits += hsic_test(x, r * x + math.sqrt(1 - r * r) * e, rng=rng, n_permutations=PERMUTATIONS).p <= LEVEL
    return hits / SIMULATED


def _seen(value: float, form: str = ".2f") -> str:
    return "nothing" if math.isnan(value) else format(value, form)
