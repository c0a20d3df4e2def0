"""Faithfulness: how much of the behaviour the circuit keeps when everything outside of it is replaced.

    f(C) = (m(C) − m(∅)) / (m(M) − m(∅)),  m the metric's mean over prompts, ∅ no edge and M all edges kept.

CPR and CMD are the areas of the Mechanistic Interpretability Benchmark (Mueller et al. 2025): ∫ f dk and ∫ |1 − f| dk
over the share k of edges, by the trapezoid rule, linear in k, from the smallest share on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from interp.circuits._attribution import Pair, pair_of
from interp.circuits._circuit import Circuit, check_circuit
from interp.circuits._masked import masked_values
from interp.errors import InputError
from interp.figures.text import html, number, told
from interp.measure import scoring

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from jaxtyping import Float
    from torch import Tensor

    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts

FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Faithfulness:
    """Faithfulness of the best edges of a circuit, for several sizes.

    fractions: share of all edges. n_edges: how many that is. values: f, NaN where clean and replaced runs have the
        same metric.
    metric_values: the metric's mean itself. clean, empty: m(M) and m(∅).
    """

    fractions: tuple[float, ...]
    n_edges: tuple[int, ...]
    values: tuple[float, ...]
    metric_values: tuple[float, ...]
    clean: float
    empty: float

    def __repr__(self) -> str:
        points = [f"{n}: {number(value)}" for n, value in zip(self.n_edges, self.values, strict=True)]
        shown = points if len(points) <= 8 else [*points[:4], "…", *points[-3:]]
        return told(
            f"Faithfulness: {len(points)} sizes of a circuit, CPR {number(self.cpr)}, CMD {number(self.cmd)}",
            f"edges: f  {', '.join(shown)}",
            f"metric of all edges {number(self.clean)}, of none {number(self.empty)}; .plot(), .to_pandas()",
        )

    def _repr_html_(self) -> str:
        return html(repr(self), self.to_pandas().to_dict("records"))

    def plot(self) -> go.Figure:
        """f over the number of edges, on a log axis (0 edges stand at its left end)."""
        from interp.figures import plots, style

        title = "edges in the circuit (log scale; 0 is at the left end)"
        return plots.curves(
            self.n_edges,
            {"f": self.values},
            title="Faithfulness of the best edges",
            x_axis=style.step_axis(self.n_edges, title=title),
            y_title="faithfulness (all edges 1, none 0)",
            places=style.placed(list(self.n_edges), style.zero_place(self.n_edges)).tolist(),
            names=[f"{n} edges ({share:.2%})" for n, share in zip(self.n_edges, self.fractions, strict=True)],
        )

    def to_pandas(self) -> pd.DataFrame:
        """A row a size: fraction, n_edges, faithfulness, metric."""
        import pandas as pd

        columns = {"fraction": self.fractions, "n_edges": self.n_edges, "faithfulness": self.values}
        return pd.DataFrame({**columns, "metric": self.metric_values})

    @property
    def cpr(self) -> float:
        """∫ f dk: higher is better; meant for rankings by signed score."""
        return float(np.trapezoid(self.values, self.fractions))

    @property
    def cmd(self) -> float:
        """∫ |1 − f| dk: lower is better; meant for rankings by size. Even a perfect ranking pays for sizes below the
        circuit's own."""
        return float(np.trapezoid(np.abs(1 - np.array(self.values)), self.fractions))


def faithfulness(
    model: Model,
    prompts: Prompts,
    circuit: Circuit,
    fractions: Sequence[float] = FRACTIONS,
    *,
    ablation: str = "corrupt",
    signed: bool = False,
    metric: Metric | None = None,
) -> Faithfulness:
    """The curve over the best `fractions` of a circuit's edges, n = int(k · number of edges), ranked by size or
    (`signed`) by value.

    ablation: what edges outside carry: `corrupt` (each prompt's own corrupt run, as in MIB), `zero` or `mean` (over the
        corrupt runs of all prompts, position by position). The embedding is one writer, token and position together: `zero`
        removes position embeddings too, and `mean` averages them with the tokens (the codes of EAP-IG and MIB keep the
        position embeddings where they zero the token's). Biases of the projections always stay.
    metric: `circuit.metric` unless given.

    Raises:
        InputError: a circuit of another graph, or with fewer scored edges than a fraction asks for.
    """
    pair = checked_pair(model, prompts, circuit, metric)
    total = int(circuit.graph.edges.sum())
    sizes = [int(share * total) for share in fractions]
    ranking = circuit.ranking(signed=signed)
    if max(sizes, default=0) > len(ranking):
        raise InputError(
            f"{circuit.method} gave {len(ranking)} of {total} edges a score, so the best {max(sizes)} cannot be told; of a circuit"
            " that scores nodes, ask for that of interp.circuits.edges_between"
        )
    masks = torch.zeros(len(sizes), *circuit.graph.edges.shape)
    for mask, size in zip(masks, sizes, strict=True):
        for row, column in ranking[:size]:
            mask[row, column] = 1.0
    means, clean, empty = means_under(pair, masks, ablation=ablation)
    return Faithfulness(
        fractions=tuple(fractions),
        n_edges=tuple(sizes),
        values=tuple(normalised(value, clean, empty) for value in means),
        metric_values=tuple(means),
        clean=clean,
        empty=empty,
    )


def of_circuit(
    model: Model, prompts: Prompts, circuit: Circuit, *, ablation: str = "corrupt", metric: Metric | None = None
) -> float:
    """f of the edges that are in the circuit."""
    pair = checked_pair(model, prompts, circuit, metric)
    (value,), clean, empty = means_under(pair, circuit.included[None].float(), ablation=ablation)
    return normalised(value, clean, empty)


def exact_match(
    logits: Float[Tensor, "prompt vocab"] | Float[Tensor, "prompt answer_len vocab"], prompts: Prompts
) -> Float[Tensor, "prompt"]:
    """A metric for circuits: 1 where every token of the answer comes first, else 0; NaN without an answer. No gradient: for testing."""
    return scoring.exact_match(logits if logits.dim() == 3 else logits[:, None], prompts.answer)


def normalised(value: float, clean: float, empty: float) -> float:
    """(value − empty) / (clean − empty), NaN where the two are equal."""
    return (value - empty) / (clean - empty) if has_behaviour(clean, empty) else math.nan


def has_behaviour(clean: float, empty: float) -> bool:
    """Whether two means of a metric differ by more than float32 rounds them to: a millionth, eight units in the last place."""
    return abs(clean - empty) > 1e-6 * max(1.0, abs(clean))  # NaN compares false


def checked_pair(model: Model, prompts: Prompts, circuit: Circuit, metric: Metric | None) -> Pair:
    """The question, for the metric that the circuit was found with unless another is given.

    Raises:
        InputError: a circuit of another graph than the model's.
    """
    check_circuit(circuit)
    pair = pair_of(model, prompts, circuit.metric if metric is None else metric)
    if pair.graph != circuit.graph:
        raise InputError(f"this circuit is of {circuit.graph}, the model is {pair.graph}")
    return pair


def means_under(
    pair: Pair, masks: Float[Tensor, "circuit reader writer"], *, ablation: str = "corrupt"
) -> tuple[list[float], float, float]:
    """The metric's mean over prompts under every mask, with all edges, and with none."""
    ends = torch.stack([pair.graph.edges.float(), torch.zeros(pair.graph.edges.shape)])
    values = masked_values(torch.cat([masks, ends]), pair, ablation=ablation).nanmean(1).tolist()
    return values[:-2], values[-2], values[-1]
