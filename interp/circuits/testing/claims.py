"""A path patch as a hypothesis test: does this component tell that one, and does it matter?

The claim `L0H2 -> L1H1.k` says that what head 2 of layer 0 writes reaches the answer through the key input of head 1 of layer
1; `a -> b -> c` claims every link. Each link is tried both ways: *noising*, its corrupt value on this one edge in the clean
run, and *denoising*, its clean value on this one edge in the corrupt run, in shares of the whole behaviour. It is held
against edges drawn at random from those between the same layers into the same kind of input: p = (1 + how many of them do at
least as much) / (1 + how many were drawn). Intervals come from resampling prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from interp.circuits._attribution import Pair, pair_of
from interp.circuits._graph import Graph
from interp.circuits._masked import masked_values
from interp.errors import InputError, unknown

if TYPE_CHECKING:
    from jaxtyping import Float

    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts

Place = tuple[int, int]
N_RESAMPLES = 1000
LEVEL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One edge of a claim. noising, denoising: shares of the behaviour, each with its 95 % interval over prompts, and the p of
    as large an effect among `n_random` other edges of the same kind (NaN where there are none)."""

    edge: str
    noising: float
    noising_interval: tuple[float, float]
    noising_p: float
    denoising: float
    denoising_interval: tuple[float, float]
    denoising_p: float
    n_random: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Claim:
    """What the runs say of a claim. holds: every link's noising effect is above zero and above those of other edges
    (p at most .05; where fewer than 19 other edges exist, it is the largest)."""

    claim: str
    links: tuple[Link, ...]
    n_prompts: int

    @property
    def holds(self) -> bool:
        return all(
            link.noising_interval[0] > 0 and link.noising_p <= max(LEVEL, 1 / (1 + link.n_random))
            for link in self.links
        )

    def summary(self) -> str:
        """A line a link."""
        lines = [
            f"{link.edge}: noising {link.noising:+.2f} [{link.noising_interval[0]:+.2f}, {link.noising_interval[1]:+.2f}], "
            f"p {link.noising_p:.3f}; denoising {link.denoising:+.2f} [{link.denoising_interval[0]:+.2f}, "
            f"{link.denoising_interval[1]:+.2f}], p {link.denoising_p:.3f}, against {link.n_random} other edges"
            for link in self.links
        ]
        return "\n".join(
            [f"{self.claim}: {'holds' if self.holds else 'is not shown'} on {self.n_prompts} prompts", *lines]
        )

    def __repr__(self) -> str:
        return f"<Claim {self.summary()}>"


def hypothesis(
    model: Model,
    prompts: Prompts,
    claim: str,
    *,
    metric: Metric = "logit_diff",
    n_random: int = 99,
    seed: int = 0,
) -> Claim:
    """Test who tells whom. claim: `L0H2 -> L1H1.k`, or a chain such as `embed -> L0H2.v -> L1.mlp -> logits`, in which an inner
    node may be named with the input by which it is told.

    The cost is 2 · (links + random edges) masked runs over the prompts.

    Raises:
        InputError: a node or input that the model has not, an edge that does not go forward, fewer than two nodes.
    """
    if not isinstance(claim, str):
        raise InputError(f"claim is a {type(claim).__name__}; expected text such as 'L0H2 -> L1H1.k'")
    pair = pair_of(model, prompts, metric)
    edges = _edges(claim, pair.graph)
    rng = np.random.default_rng(seed)
    rivals = [_rivals(pair.graph, edge, n_random, rng) for edge in edges]
    tried = list(dict.fromkeys([*edges, *(edge for drawn in rivals for edge in drawn)]))
    around = replace(pair, asked=replace(pair.asked, clean=pair.asked.corrupt, corrupt=pair.asked.clean))
    noised, denoised = (_effects(each, tried) for each in (pair, around))
    span = noised.whole - denoised.whole  # by prompt: clean − corrupt
    place = {edge: at for at, edge in enumerate(tried)}
    return Claim(
        claim=claim,
        n_prompts=pair.n_prompts,
        links=tuple(
            _link(pair.graph, edge, drawn, place, noised.lost, -denoised.lost, span, rng)
            for edge, drawn in zip(edges, rivals, strict=True)
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Effects:
    """The metric with all edges [prompt], and what is lost of it without each edge [edge, prompt]."""

    whole: Float[np.ndarray, "prompt"]
    lost: Float[np.ndarray, "edge prompt"]


def _effects(pair: Pair, edges: Sequence[Place]) -> _Effects:
    masks = pair.graph.edges.float().repeat(len(edges) + 1, 1, 1)
    for at, (row, column) in enumerate(edges):
        masks[at, row, column] = 0.0
    values = masked_values(masks, pair).double().cpu().numpy()
    return _Effects(whole=values[-1], lost=values[-1] - values[:-1])


def _link(
    graph: Graph,
    edge: Place,
    rivals: Sequence[Place],
    place: dict[Place, int],
    noised: Float[np.ndarray, "edge prompt"],
    denoised: Float[np.ndarray, "edge prompt"],
    span: Float[np.ndarray, "prompt"],
    rng: np.random.Generator,
) -> Link:
    found = {}
    for name, effects in (("noising", noised), ("denoising", denoised)):
        own = effects[place[edge]]
        others = np.abs(np.nanmean(effects[[place[other] for other in rivals]], axis=1)) if rivals else np.zeros(0)
        larger = int((others >= abs(np.nanmean(own)) - 1e-12).sum())
        found[name] = (
            float(np.nanmean(own) / np.nanmean(span)),
            _interval(own, span, rng),
            (1 + larger) / (1 + len(rivals)) if rivals else math.nan,
        )
    row, column = edge
    return Link(
        edge=f"{graph.writers[column]}->{graph.readers[row]}",
        noising=found["noising"][0],
        noising_interval=found["noising"][1],
        noising_p=found["noising"][2],
        denoising=found["denoising"][0],
        denoising_interval=found["denoising"][1],
        denoising_p=found["denoising"][2],
        n_random=len(rivals),
    )


def _interval(
    own: Float[np.ndarray, "prompt"], span: Float[np.ndarray, "prompt"], rng: np.random.Generator
) -> tuple[float, float]:
    """95 % of the ratio of means over resampled prompts."""
    valid = ~(np.isnan(own) | np.isnan(span))
    rows = rng.integers(int(valid.sum()), size=(N_RESAMPLES, int(valid.sum())))
    ratios = own[valid][rows].mean(1) / span[valid][rows].mean(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)


def _edges(claim: str, graph: Graph) -> list[Place]:
    nodes = [part.strip() for part in claim.split("->")]
    if len(nodes) < 2 or not all(nodes):
        raise InputError(f"the claim {claim!r} names no path; expected two nodes or more, as in 'L0H2 -> L1H1.k'")
    found = []
    for source, target in pairwise(nodes):
        writer = source.rpartition(".")[0] if source.endswith((".q", ".k", ".v")) else source
        if writer not in graph.writers:
            raise unknown("node", writer, graph.writers)
        if target not in graph.readers:
            raise unknown("input", target, graph.readers)
        row, column = graph.readers.index(target), graph.writers.index(writer)
        if not bool(graph.edges[row, column]):
            raise InputError(f"{target} does not read {writer}: it comes no later in the model")
        found.append((row, column))
    return found


def _rivals(graph: Graph, edge: Place, n: int, rng: np.random.Generator) -> list[Place]:
    """Other edges between the layers of these two nodes into the same kind of input; where there are none, into it."""
    row, column = edge
    kind, layer, origin = _kind(graph.readers[row]), _layer(graph.readers[row]), _layer(graph.writers[column])
    places = [(r, c) for r, c in graph.edges.nonzero().tolist() if (r, c) != edge and _kind(graph.readers[r]) == kind]
    near = [(r, c) for r, c in places if _layer(graph.readers[r]) == layer and _layer(graph.writers[c]) == origin]
    pool = near if len(near) >= min(n, 19) else places  # 19 others are the fewest that can show p = .05
    return [pool[at] for at in rng.permutation(len(pool))[:n]]


def _kind(reader: str) -> str:
    return reader.rpartition(".")[2] if "." in reader else reader


def _layer(node: str) -> str:
    return node[1:].partition("H")[0].partition(".")[0] if node.startswith("L") and node[1:2].isdigit() else node
