"""A circuit: scores of a graph's edges, and which of these edges are in."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from interp.circuits._graph import Graph, edge_mask, edge_names
from interp.errors import InputError, unknown
from interp.figures.text import html, listed, number, told
from interp.files import plain

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from jaxtyping import Bool, Float
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Circuit:
    """Edges of a model with scores; positive means that the edge helps the metric.

    scores: in the metric's units, NaN where the graph has no edge or the method gives none.
    included: the edges that are in the circuit.
    nodes: scores of the writers, for methods that score nodes; None where edges say it all.
    metric: its name. about: what the method was told and what it cost (`passes`, in forward passes over the prompts).
    """

    graph: Graph
    scores: Float[Tensor, "reader writer"]
    included: Bool[Tensor, "reader writer"]
    method: str = ""
    metric: str = "logit_diff"
    nodes: Float[Tensor, "writer"] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        scores = self.edge_scores() or self.node_scores()
        best = sorted(scores, key=lambda name: -abs(scores[name]) if scores[name] == scores[name] else math.inf)[:4]
        inside = self.edges()
        g = self.graph
        return told(
            f"Circuit: {len(inside)} of {int(g.edges.sum())} edges in; {self.method or 'no method'}, {self.metric}; "
            f"{g.n_layers} layers of {g.n_heads} heads",
            f"in: {listed(inside, 4)}" if inside else "no edge is in: .top(n) or .at_least(score) choose",
            f"largest scores: {', '.join(f'{name} {number(scores[name])}' for name in best)}" if best else "unscored",
            ".edges(), .edge_scores(), .plot(), .to_pandas()",
        )

    def _repr_html_(self) -> str:
        frame = self.to_pandas().sort_values("score", key=abs, ascending=False)
        return html(repr(self), frame.to_dict("records"))

    def plot(self, *, max_edges: int | None = None) -> go.Figure:
        """The circuit as a drawing: layers up, heads across, width and colour by score. The edges that are in, or where none
        are the strongest of all; at most `max_edges` (150)."""
        from interp.figures.circuit import draw_circuit

        return draw_circuit(self, max_edges=max_edges)

    def to_pandas(self) -> pd.DataFrame:
        """A row an edge of the graph: source, target, score (NaN where it has none), included."""
        import pandas as pd

        pairs = [name.split("->") for name in edge_names(self.graph, self.graph.edges)]
        frame = pd.DataFrame(pairs, columns=["source", "target"])
        there = self.graph.edges
        return frame.assign(score=self.scores[there].tolist(), included=self.included[there].tolist())

    @property
    def n_edges(self) -> int:
        """How many edges are in."""
        return int(self.included.sum())

    def edges(self) -> list[str]:
        """The edges that are in, `writer->reader`."""
        return edge_names(self.graph, self.included)

    def edge_scores(self) -> dict[str, float]:
        """Every scored edge -> its score."""
        scored = ~self.scores.isnan()
        return dict(zip(edge_names(self.graph, scored), self.scores[scored].tolist(), strict=True))

    def node_scores(self) -> dict[str, float]:
        """Writer -> its own score, else the sum of the scores of its edges (to first order the same)."""
        values = self.scores.nansum(0) if self.nodes is None else self.nodes
        return dict(zip(self.graph.writers, values.tolist(), strict=True))

    def ranking(self, *, signed: bool = False) -> list[tuple[int, int]]:
        """(reader, writer) of every scored edge, best first, by size or (`signed`) by value; ties in the graph's
        order."""
        keys = (self.scores if signed else self.scores.abs()).flatten()
        order = keys.nan_to_num(nan=-math.inf).sort(descending=True, stable=True).indices
        order = order[~keys[order].isnan()]
        return [divmod(place, self.scores.shape[1]) for place in order.tolist()]

    def top(self, n: int, *, signed: bool = False) -> Circuit:
        """The `n` best edges."""
        return self._with(self.ranking(signed=signed)[:n])

    def at_least(self, threshold: float, *, signed: bool = False) -> Circuit:
        """The edges whose score (its size, unless `signed`) reaches the threshold."""
        return replace(self, included=(self.scores if signed else self.scores.abs()) >= threshold)

    def greedy(self, n: int) -> Circuit:
        """`n` edges grown from the logits: always the largest edge into a node that has a way to the logits already."""
        sizes = self.scores.abs().nan_to_num(nan=-1.0)
        heap: list[tuple[float, int, int]] = []
        open_rows: set[int] = set()
        chosen: list[tuple[int, int]] = []
        fresh: tuple[int, ...] = (len(sizes) - 1,)
        while len(chosen) < n:
            for row in set(fresh) - open_rows:
                columns = (sizes[row] >= 0).nonzero()[:, 0].tolist()
                heap.extend((-float(sizes[row, column]), row, column) for column in columns)
            heapq.heapify(heap)
            open_rows |= set(fresh)
            if not heap:
                break
            _, row, column = heapq.heappop(heap)
            chosen.append((row, column))
            fresh = self.graph.rows_into(column)
        return self._with(chosen)

    def pruned(self) -> Circuit:
        """Without edges that cannot matter: into writers that lead nowhere, or out of writers that nothing enters."""
        feeds = torch.zeros_like(self.included)
        for column in range(feeds.shape[1]):
            feeds[list(self.graph.rows_into(column)), column] = True
        kept = self.included
        while True:
            fed = (feeds & kept.any(1, keepdim=True)).any(0)
            fed[0] = True
            used = (feeds & kept.any(0)).any(1)
            used[-1] = True
            smaller = kept & fed & used[:, None]
            if bool((smaller == kept).all()):
                return replace(self, included=kept)
            kept = smaller

    def __or__(self, other: Circuit) -> Circuit:
        """The edges that are in either circuit, with this one's scores."""
        return replace(self, included=self.included | self._comparable(other).included)

    def __and__(self, other: Circuit) -> Circuit:
        """The edges that are in both circuits."""
        return replace(self, included=self.included & self._comparable(other).included)

    def __sub__(self, other: Circuit) -> Circuit:
        """The edges that are in this circuit only."""
        return replace(self, included=self.included & ~self._comparable(other).included)

    def jaccard(self, other: Circuit) -> float:
        """Shared edges as a share of all edges in either; NaN for two empty circuits."""
        either = int((self | other).included.sum())
        return int((self & other).included.sum()) / either if either else math.nan

    def similarity(self, other: Circuit) -> float:
        """Weighted Jaccard of the scores, Σ min(|a|, |b|) / Σ max(|a|, |b|) (Tigges et al. 2024); NaN where all are
        zero."""
        mine, theirs = (c.scores.abs().nan_to_num() for c in (self, self._comparable(other)))
        most = float(torch.maximum(mine, theirs).sum())
        return float(torch.minimum(mine, theirs).sum()) / most if most > 0 else math.nan

    def to_json(self) -> dict[str, Any]:
        """As plain data; `from_json` reads it back. NaN becomes null."""
        edges = [
            [name, plain(float(self.scores[row, column])), bool(self.included[row, column])]
            for name, (row, column) in zip(
                edge_names(self.graph, self.graph.edges), self.graph.edges.nonzero().tolist(), strict=True
            )
        ]
        return {
            "graph": asdict(self.graph),
            "method": self.method,
            "metric": self.metric,
            "about": dict(self.about),
            "nodes": None if self.nodes is None else plain(self.nodes.tolist()),
            "edges": edges,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Circuit:
        """What `to_json` gave.

        Raises:
            InputError: a field that is missing, or an edge that the graph has not.
        """
        try:
            graph, edges = Graph(**data["graph"]), data["edges"]
            names = [name for name, _, _ in edges]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is not a circuit's JSON: {error!r}") from error
        edge_mask(graph, names)
        place = dict(zip(edge_names(graph, graph.edges), graph.edges.nonzero().tolist(), strict=True))
        scores = torch.full(graph.edges.shape, torch.nan)
        included = torch.zeros(graph.edges.shape, dtype=torch.bool)
        for name, score, inside in edges:
            row, column = place[name]
            scores[row, column] = torch.nan if score is None else score
            included[row, column] = inside
        nodes = data.get("nodes")
        return cls(
            graph=graph,
            scores=scores,
            included=included,
            method=data.get("method", ""),
            metric=data.get("metric", "logit_diff"),
            nodes=None if nodes is None else torch.tensor([math.nan if v is None else v for v in nodes]),
            about=data.get("about", {}),
        )

    def _with(self, edges: list[tuple[int, int]]) -> Circuit:
        included = torch.zeros_like(self.included)
        for row, column in edges:
            included[row, column] = True
        return replace(self, included=included)

    def _comparable(self, other: Circuit) -> Circuit:
        if self.graph != other.graph:
            raise InputError(f"these circuits are of different graphs: {self.graph} and {other.graph}")
        return other


def check_circuit(circuit: Any) -> None:
    """Raises InputError for what is no circuit."""
    if not isinstance(circuit, Circuit):
        raise InputError(f"circuit is a {type(circuit).__name__}; expected what interp.find_circuit gives")


def whole(graph: Graph) -> Circuit:
    """The circuit of all edges, unscored."""
    return Circuit(graph=graph, scores=torch.full(graph.edges.shape, torch.nan), included=graph.edges)


def named(graph: Graph, edges: frozenset[str] | list[str] | set[str]) -> Circuit:
    """The circuit of exactly these edges, scored 1 inside and 0 outside."""
    included = edge_mask(graph, edges)
    return Circuit(graph=graph, scores=included.float().masked_fill(~graph.edges, torch.nan), included=included)


def among(graph: Graph, nodes: Collection[str]) -> Circuit:
    """The circuit of whole nodes (`L0H1`, `L1.mlp`): every edge between these, the embedding and the logits; unscored.

    Raises:
        InputError: a node that this graph has not.
    """
    for name in nodes:
        if name not in graph.writers:
            raise unknown("node", name, graph.writers[1:])
    columns = [column for column, name in enumerate(graph.writers) if column == 0 or name in nodes]
    rows = [len(graph.readers) - 1, *(row for column in columns for row in graph.rows_into(column))]
    chosen = torch.zeros(graph.edges.shape, dtype=torch.bool)
    chosen[torch.tensor(rows)[:, None], torch.tensor(columns)] = True
    return Circuit(graph=graph, scores=torch.full(graph.edges.shape, torch.nan), included=graph.edges & chosen)
