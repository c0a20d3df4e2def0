"""What a circuit costs at one checkpoint: found twice, tried, and its roles read, on very small models of the same task.

The cost in passes of some methods grows with the layers, of others with the components or the edges; three small shapes tell
which, and by how much.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from interp.engine.config import CircuitSpec
from interp.seeds import generator
from interp.types import Task

Shape = tuple[int, int]
"""Layers, and heads in each."""

N_TRIED = 4
"""Prompts on the small models; a pass is one over all prompts, however many there are."""


class Unshaped(Exception):
    """The cost depends on the model's shape, and that is not known."""


def passes_at(task: Task, split_seed: int, circuits: CircuitSpec, shape: Shape | None) -> float:
    """Forward passes over `circuits.n_prompts` prompts at one checkpoint of a model of this shape.

    Raises:
        Unshaped: no shape, where the method's cost depends on it.
    """
    small = [(1, 1), (2, 2)]
    cost = [_measured(task, split_seed, circuits.method, circuits.metric, each) for each in small]
    if cost[0] == cost[1]:
        return cost[0]
    if shape is None:
        raise Unshaped
    small.append((1, 2))
    cost.append(_measured(task, split_seed, circuits.method, circuits.metric, small[-1]))
    fits = []
    for sizes in zip(*map(_sizes, small), strict=True):  # layers, then components, then edges
        slope, start = np.polyfit(sizes, cost, 1)
        fits.append((float(np.abs(np.polyval([slope, start], sizes) - cost).max()), slope, start))
    best = min(range(len(fits)), key=lambda k: (round(fits[k][0], 6), k))
    _, slope, start = fits[best]
    return float(max(start + slope * _sizes(shape)[best], max(cost)))


def _sizes(shape: Shape) -> tuple[int, int, int]:
    """Layers, components, and edges of the graph (`interp.circuits._graph`; heads and MLPs one after the other)."""
    n_layers, n_heads = shape
    components = 1 + n_layers * (n_heads + 1)
    edges = components
    for layer in range(n_layers):
        before = 1 + layer * (n_heads + 1)
        edges += 3 * n_heads * before + before + n_heads
    return n_layers, components, edges


@cache
def _measured(task: Task, split_seed: int, method: str, metric: str, shape: Shape) -> float:
    from interp.circuits.formation.track import snapshot
    from interp.models import build, wrap
    from interp.tasks import draw_prompts

    n_layers, n_heads = shape
    config = {"architecture": "native", "n_layers": n_layers, "n_heads": n_heads, "d_model": 8, "d_head": 4, "d_mlp": 8}
    config |= {"n_ctx": task.n_ctx, "d_vocab": len(task.vocab), "d_vocab_out": len(task.vocab), "act_fn": "relu"}
    prompts = draw_prompts(task, 2 * N_TRIED, seed=0, split_seed=split_seed)
    model = wrap(build(config, seed=int(generator(0, "plan").initial_seed() % 1000)))
    return float(snapshot(model, 0, prompts, method=method, metric=metric).passes)
