"""The graph whose edges circuits are made of.

Writers add to the residual stream: `embed`, every head `L2H3`, every MLP `L2.mlp`. Readers take from it: every head's
    query, key and value inputs
`L2H3.q`, `L2H3.k`, `L2H3.v` (keys and values by key/value head, where these are shared), every MLP `L2.mlp`, and
`logits`. There is an edge from every writer to every reader that comes after it; of a parallel block the MLP does not
read the heads beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch

from interp.errors import InputError, unknown
from interp.models.sites import architectures

if TYPE_CHECKING:
    from jaxtyping import Bool
    from torch import Tensor

    from interp.models import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The shape of a model, as far as edges go. `parallel`: attention and MLP side by side; `mlps`: whether there are
    any."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    parallel: bool = False
    mlps: bool = True

    @property
    def writers(self) -> tuple[str, ...]:
        return _writers(self)

    @property
    def readers(self) -> tuple[str, ...]:
        return _readers(self)

    @property
    def edges(self) -> Bool[Tensor, "reader writer"]:
        """True where there is an edge."""
        seen = torch.tensor([self.n_seen(row) for row in range(len(self.readers))])
        return torch.arange(len(self.writers)) < seen[:, None]

    def head_columns(self, layer: int) -> slice:
        """The writers that are this layer's heads."""
        first = 1 + layer * (self.n_heads + self.mlps)
        return slice(first, first + self.n_heads)

    def mlp_column(self, layer: int) -> int:
        """The writer that is this layer's MLP."""
        return self.head_columns(layer).stop

    def rows(self, layer: int, slot: str) -> slice:
        """The readers of one kind in a layer: `q`, `k`, `v` (one a head) or `mlp`."""
        sizes = {"q": self.n_heads, "k": self.n_kv_heads, "v": self.n_kv_heads, "mlp": int(self.mlps)}
        first = layer * sum(sizes.values())
        for name, size in sizes.items():
            if name == slot:
                return slice(first, first + size)
            first += size
        raise unknown("kind of reader", slot, sizes)

    def n_seen(self, row: int) -> int:
        """How many writers come before a reader: it reads the first that many."""
        per_layer = self.n_heads + 2 * self.n_kv_heads + self.mlps
        layer, place = divmod(row, per_layer)
        if layer == self.n_layers:
            return len(self.writers)
        heads_beside = self.mlps and place == per_layer - 1 and not self.parallel
        return self.head_columns(layer).start + (self.n_heads if heads_beside else 0)

    def rows_into(self, column: int) -> tuple[int, ...]:
        """The readers that a writer's output depends on: none for the embedding, three for a head, one for an MLP."""
        if column == 0:
            return ()
        layer, place = divmod(column - 1, self.n_heads + self.mlps)
        if place == self.n_heads:
            return (self.rows(layer, "mlp").start,)
        shared = place // (self.n_heads // self.n_kv_heads)
        return (self.rows(layer, "q").start + place, *(self.rows(layer, slot).start + shared for slot in "kv"))


@cache
def _writers(graph: Graph) -> tuple[str, ...]:
    names = ["embed"]
    for layer in range(graph.n_layers):
        names += [f"L{layer}H{head}" for head in range(graph.n_heads)]
        names += [f"L{layer}.mlp"] * graph.mlps
    return tuple(names)


@cache
def _readers(graph: Graph) -> tuple[str, ...]:
    names = []
    for layer in range(graph.n_layers):
        names += [f"L{layer}H{head}.q" for head in range(graph.n_heads)]
        names += [f"L{layer}H{head}.{slot}" for slot in "kv" for head in range(graph.n_kv_heads)]
        names += [f"L{layer}.mlp"] * graph.mlps
    return (*names, "logits")


def graph_of(model: Model) -> Graph:
    """The graph of a model whose sites are mapped."""
    if model.sites is None:
        known = ", ".join(architectures())
        raise InputError(f"circuits need a map of sites, and {model.config['architecture']} has none (mapped: {known})")
    if not model.sites.written:
        raise InputError(
            f"circuits are defined where the stream is the sum of what is written to it; in {model.config['architecture']} it "
            "is not (an encoder-decoder, or norms on the stream itself)"
        )
    return Graph(
        n_layers=model.n_layers,
        n_heads=model.n_heads,
        n_kv_heads=model.n_kv_heads,
        parallel=model.sites.parallel,
        mlps=model.sites.mlp is not None,
    )


def edge_names(graph: Graph, chosen: Bool[Tensor, "reader writer"]) -> list[str]:
    """`writer->reader` of every True, readers first to last."""
    return [f"{graph.writers[column]}->{graph.readers[row]}" for row, column in chosen.nonzero().tolist()]


def edge_mask(graph: Graph, names: frozenset[str] | list[str] | set[str]) -> Bool[Tensor, "reader writer"]:
    """True at each edge named.

    Raises:
        InputError: an edge that this graph has not.
    """
    rows = {name: row for row, name in enumerate(graph.readers)}
    columns = {name: column for column, name in enumerate(graph.writers)}
    chosen = torch.zeros(len(rows), len(columns), dtype=torch.bool)
    for name in names:
        writer, _, reader = name.partition("->")
        if writer not in columns:
            raise unknown("writer", writer, columns)
        if reader not in rows:
            raise unknown("reader", reader, rows)
        if columns[writer] >= graph.n_seen(rows[reader]):
            raise InputError(f"there is no edge {name!r}: {writer} comes after {reader}")
        chosen[rows[reader], columns[writer]] = True
    return chosen
