"""Hypothesis tests of a circuit (Shi et al. 2024, arXiv 2410.13032), on the metric of every prompt.

    equivalence   H0: circuit and model are equally likely to do better on a prompt, |P(circuit > model) − 1/2| <=
        tolerance.
    independence  H0: what is left of the model without the circuit's edges knows nothing of the behaviour: its metric
                  is independent of the model's over prompts.
    minimality    H0 for each edge: taking it out of the circuit matters no more than taking out an edge that does not
                  belong, one that was added at random.

A good circuit keeps equivalence and independence and rejects minimality for every edge. Small p-values reject.
Prompts must be independent draws, other ones than the circuit was found on; p-values of edges are corrected together
(Holm).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import binom

from interp.circuits._circuit import Circuit
from interp.circuits._graph import edge_names
from interp.circuits._masked import masked_values, masker
from interp.circuits.testing.faithfulness import checked_pair
from interp.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A test's statistic, its p-value (NaN where it is not defined) and the number of prompts that it rests on."""

    statistic: float
    p: float
    n: int


def equivalence(
    model: Model,
    prompts: Prompts,
    circuit: Circuit,
    *,
    tolerance: float = 0.1,
    ablation: str = "corrupt",
    metric: Metric | None = None,
) -> Test:
    """Sign test of circuit against model; the statistic is the share of prompts on which the circuit does better,
    ties (to 1e-5 of the metric's spread) counting half to each side."""
    pair = checked_pair(model, prompts, circuit, metric)
    masks = torch.stack([circuit.included, pair.graph.edges]).float()
    mine, whole = masked_values(masks, pair, ablation=ablation).double().cpu().numpy()
    return sign_test(mine - whole, tolerance=tolerance, tie=1e-5 * float(np.abs(whole).max()))


def sign_test(differences: Float[np.ndarray, "prompt"], *, tolerance: float, tie: float = 0.0) -> Test:
    """p of |P(positive) − 1/2| <= tolerance: the larger of the two binomial tails is taken at the null's own edge, so
    the test is exact or conservative everywhere under it. Ties are dealt out alternately, which favours the null."""
    valid = differences[~np.isnan(differences)]
    if not 0 <= tolerance < 0.5:
        raise InputError(f"a tolerance lies in [0, 0.5), got {tolerance}")
    n, ties = len(valid), int((np.abs(valid) <= tie).sum())
    above = int((valid > tie).sum()) + ties // 2
    if n == 0:
        return Test(statistic=math.nan, p=math.nan, n=0)
    more, less = max(above, n - above), min(above, n - above)
    high, low = 0.5 + tolerance, 0.5 - tolerance
    tails = [binom.sf(more - 1, n, at) + binom.cdf(less - 1 if more == less else less, n, at) for at in (high, low)]
    return Test(statistic=above / n, p=float(min(1.0, max(tails))), n=n)


def independence(
    model: Model,
    prompts: Prompts,
    circuit: Circuit,
    *,
    rng: np.random.Generator,
    n_permutations: int = 999,
    ablation: str = "corrupt",
    metric: Metric | None = None,
) -> Test:
    """Permutation test of the Hilbert-Schmidt independence criterion between the model's metric and that of its
    complement of the circuit."""
    pair = checked_pair(model, prompts, circuit, metric)
    masks = torch.stack([pair.graph.edges & ~circuit.included, pair.graph.edges]).float()
    rest, whole = masked_values(masks, pair, ablation=ablation).double().cpu().numpy()
    return hsic_test(rest, whole, rng=rng, n_permutations=n_permutations)


def hsic_test(
    x: Float[np.ndarray, "prompt"],
    y: Float[np.ndarray, "prompt"],
    *,
    rng: np.random.Generator,
    n_permutations: int = 999,
) -> Test:
    """HSIC with Gaussian kernels of median width; p = (1 + permutations at least as large) / (1 + permutations). A
    constant side gives p = 1."""
    valid = ~(np.isnan(x) | np.isnan(y))
    kernels = [_centred_kernel(side[valid]) for side in (x, y)]
    n = int(valid.sum())
    if n < 4:
        return Test(statistic=math.nan, p=math.nan, n=n)
    value = float((kernels[0] * kernels[1]).mean())
    larger = 0
    for _ in range(n_permutations):
        order = rng.permutation(n)
        larger += (kernels[0] * kernels[1][np.ix_(order, order)]).mean() >= value - 1e-15
    return Test(statistic=value, p=(1 + larger) / (1 + n_permutations), n=n)


def _centred_kernel(values: Float[np.ndarray, "prompt"]) -> Float[np.ndarray, "prompt prompt"]:
    apart = np.abs(values[:, None] - values[None, :])
    scale = 1e-5 * np.abs(values).max(initial=0.0)
    width = np.median(apart[apart > scale]) if (apart > scale).any() else 1.0
    kernel = np.exp(-0.5 * (np.where(apart > scale, apart, 0.0) / width) ** 2)
    return kernel - kernel.mean(0) - kernel.mean(1, keepdims=True) + kernel.mean()


def minimality_tests(
    model: Model,
    prompts: Prompts,
    circuit: Circuit,
    *,
    rng: np.random.Generator,
    n_reference: int = 200,
    ablation: str = "corrupt",
    metric: Metric | None = None,
) -> dict[str, Test]:
    """Every edge of the circuit -> a test that it matters more than edges that do not belong, Holm-corrected.

    The reference: the circuit with a random path added that could matter in it (from a node of the circuit, directly or by way of one
    node outside, into another), and what knocking the path out again changes. p of an edge = (1 + references at least as
    large) / (1 + references); with few references no edge can reach a small p after correction, so ask for many.
    """
    found = knockouts(model, prompts, circuit, rng=rng, n_reference=n_reference, ablation=ablation, metric=metric)
    raw = np.array([(1 + (found.reference >= own).sum()) / (1 + len(found.reference)) for own in found.own])
    names = edge_names(circuit.graph, circuit.included)
    return {
        name: Test(statistic=float(own), p=float(p), n=found.n_prompts)
        for name, own, p in zip(names, found.own, holm(raw), strict=True)
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Knockouts:
    """How much the metric changes, |difference| averaged over prompts, when an edge of the circuit (`own`) or a path added to it at random
    (`reference`) is taken out."""

    own: Float[np.ndarray, "edge"]
    reference: Float[np.ndarray, "path"]
    n_prompts: int

    def smallest(self, level: float = 0.05) -> float:
        """The change that an edge must exceed to be told from the reference after correction for the number of edges; NaN
        where there are too few paths for any to be."""
        allowed = math.floor(level * (1 + len(self.reference)) / max(len(self.own), 1) + 1e-9) - 1
        if allowed < 0:
            return math.nan
        return float(np.sort(self.reference)[::-1][allowed]) if allowed < len(self.reference) else 0.0


def knockouts(
    model: Model,
    prompts: Prompts,
    circuit: Circuit,
    *,
    rng: np.random.Generator,
    n_reference: int = 200,
    ablation: str = "corrupt",
    metric: Metric | None = None,
) -> Knockouts:
    """What `minimality_tests` rests on."""
    pair = checked_pair(model, prompts, circuit, metric)
    ready = masker(pair, ablation=ablation)
    places = circuit.included.nonzero()
    base = circuit.included.float()
    without = base.repeat(len(places), 1, 1)
    without[torch.arange(len(places)), places[:, 0], places[:, 1]] = 0.0
    inflated = torch.stack([base, *_with_random_paths(circuit, n_reference, rng)])[1:]
    values = masked_values(torch.cat([base[None], without, inflated]), pair, prepared=ready)
    changes = (values[1:] - values[:1]).abs().nanmean(1).double().cpu().numpy()
    return Knockouts(own=changes[: len(places)], reference=changes[len(places) :], n_prompts=pair.n_prompts)


def _with_random_paths(circuit: Circuit, n: int, rng: np.random.Generator) -> list[torch.Tensor]:
    """Up to `n` masks: the circuit and one path of one or two outside edges, no path twice."""
    inside, graph = circuit.pruned().included, circuit.graph
    into = [list(graph.rows_into(column)) for column in range(inside.shape[1])]
    sources = [c for c in range(inside.shape[1]) if c == 0 or bool(inside[into[c]].any())]
    sinks = {len(inside) - 1} | {row for c in range(inside.shape[1]) if bool(inside[:, c].any()) for row in into[c]}
    outside = (graph.edges & ~circuit.included).tolist()
    paths: list[tuple[tuple[int, int], ...]] = []
    for source in sources:
        paths += [((row, source),) for row in sinks if outside[row][source]]
        for middle in set(range(1, inside.shape[1])) - set(sources):
            entries = [row for row in into[middle] if outside[row][source]]
            paths += [((e, source), (row, middle)) for e in entries for row in sinks if outside[row][middle]]
    masks = []
    for place in rng.choice(len(paths), size=min(n, len(paths)), replace=False) if paths else ():
        mask = circuit.included.float()
        for row, column in paths[place]:
            mask[row, column] = 1.0
        masks.append(mask)
    return masks


def holm(p: Float[np.ndarray, "test"]) -> Float[np.ndarray, "test"]:
    """Holm's step-down correction: adjusted p-values that control the probability of any false rejection."""
    order = np.argsort(p)
    stepped = np.minimum(1.0, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    adjusted = np.empty_like(stepped)
    adjusted[order] = stepped
    return adjusted
