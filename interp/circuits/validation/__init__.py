"""How far a circuit can be trusted: what a careful researcher would try by hand, in one call.

Beside faithfulness and completeness stand the things that scores of one component at a time cannot show: components that
stand in for each other, components that cancel, gradients that are zero beside a large effect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from interp.circuits._attribution import choose
from interp.circuits._circuit import Circuit
from interp.circuits._edges_from_nodes import edges_between
from interp.circuits.testing.faithfulness import checked_pair, has_behaviour
from interp.circuits.validation._effects import Ground, ground
from interp.circuits.validation._groups import MARGIN, Group
from interp.circuits.validation._minimality import minimality
from interp.circuits.validation._scores import component_scores, disagreement, saturated
from interp.circuits.validation._search import components_of, n_few, search, spread
from interp.circuits.validation._tests import CircuitTests, circuit_tests
from interp.figures.text import html
from interp.files import plain

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Validation:
    """Shares are of the behaviour, f: 1 is the whole model's metric on these prompts, 0 that of the corrupt run.

    faithfulness: f of the circuit alone. completeness: 1 − the largest |f(C∖K) − f(M∖K)|, K being nothing, each component
        of the circuit, and each group; 1 is complete, a low value says that the model has a way round what is in C.
    minimality: live edge -> the most that it matters, over what else is taken out (`_minimality` says over what).
    backups: groups of components that stand in for each other. cancelling: groups that cancel.
    negative: components without which the model does better by MARGIN. saturated: components with a (nearly) zero gradient
        beside a large effect, alone or with their group.
    scores: component -> its score by `noising` (its corrupt value put into the clean run: what is lost), `denoising` (its
        clean value put into the corrupt run: what is gained) and `gradient` (first order, at the clean run; EAP).
    disagreement: the largest difference between these, in a sentence; "" where they agree.
    n_edges: live edges, those on a way from the embedding to the logits.
    n_subsets: how many subsets K minimality tried for each edge, at most. passes: what all this cost, in runs of the prompts.
    tests: hypothesis tests, where they were asked for; they cost extra (`CircuitTests.passes`).
    """

    faithfulness: float
    completeness: float
    minimality: Mapping[str, float]
    backups: tuple[Group, ...]
    cancelling: tuple[Group, ...]
    negative: tuple[str, ...]
    saturated: tuple[str, ...]
    scores: Mapping[str, Mapping[str, float]]
    disagreement: str
    n_edges: int
    n_subsets: int
    n_prompts: int
    passes: float
    tests: CircuitTests | None = None

    def summary(self) -> str:
        """What to know of the circuit, in a few lines."""
        lines = [
            f"{self.n_edges} live edges keep {self.faithfulness:.2f} of the behaviour on {self.n_prompts} prompts; "
            f"completeness {self.completeness:.2f}"
        ]
        lines += [f"{', '.join(group)} stand in for each other" for group in self.backups]
        lines += [f"{', '.join(group)} cancel" for group in self.cancelling]
        if self.negative:
            lines.append(f"{', '.join(self.negative)} work against the answer")
        if self.saturated:
            lines.append(f"{', '.join(self.saturated)}: zero gradient beside a large effect (saturated)")
        if self.disagreement:
            lines.append(self.disagreement)
        idle = [edge for edge, score in self.minimality.items() if score < 0.01]
        if idle:
            lines.append(f"{len(idle)} edges matter less than .01, whatever else is taken out: {', '.join(idle[:4])}")
        if self.tests is not None:
            lines.append(self.tests.summary())
        return "\n".join(lines)

    def __repr__(self) -> str:
        lines = [line if len(line) <= 240 else f"{line[:239]}…" for line in self.summary().split("\n")]
        more = [f"and {len(lines) - 10} more: .summary()"] if len(lines) > 11 else []
        return "Validation: " + "\n  ".join([*(lines[:10] if more else lines), *more])

    def _repr_html_(self) -> str:
        return html(repr(self), self.to_pandas().to_dict("records"))

    def plot(self) -> go.Figure:
        """Every component's score by noising, denoising and gradient, in shares of the behaviour."""
        from interp.figures import plots

        kinds = ("noising", "denoising", "gradient")
        groups = {kind: [row[kind] for row in self.scores.values()] for kind in kinds}
        title = f"{self.n_edges} live edges keep {self.faithfulness:.2f}; completeness {self.completeness:.2f}"
        return plots.bars(list(self.scores), groups, title=title, unit="share of the behaviour")

    def to_pandas(self) -> pd.DataFrame:
        """A row a component: its scores by noising, denoising and gradient."""
        import pandas as pd

        return pd.DataFrame.from_dict(dict(self.scores), orient="index").rename_axis("component").reset_index()

    def to_json(self) -> dict[str, Any]:
        """As plain data; NaN becomes null."""
        names = [name for name in self.__slots__ if name not in ("passes", "tests")]
        return {
            **plain({name: getattr(self, name) for name in names}),
            "cost_in_forward_passes": self.passes,
            "tests": None if self.tests is None else self.tests.to_json(),
            "summary": self.summary(),
        }


def validate_circuit(
    model: Model,
    prompts: Prompts,
    circuit: Circuit,
    *,
    ablation: str = "corrupt",
    metric: Metric | None = None,
    minimal: bool = True,
    tests: bool = False,
) -> Validation:
    """Try a circuit on `prompts`, which should be others than it was found on.

    ablation: what edges outside of the circuit carry: `corrupt`, `zero` or `mean`. metric: the circuit's own unless given.
    minimal: False leaves minimality out (its cost grows with the number of edges).
    tests: run the hypothesis tests too (`interp.circuits.testing.hypotheses`): a run for every live edge and each of up to 200
        random paths, and 5 more.

    Where the clean and the replaced run have the same metric there is no behaviour to keep: shares are NaN, groups empty.

    Raises:
        InputError: a circuit of another graph than the model's, prompts that do not fit.
    """
    circuit = edges_between(circuit).pruned()
    pair = checked_pair(model, prompts, circuit, metric)
    here = ground(pair, ablation)
    if not has_behaviour(here.clean, here.empty):
        return _nothing_to_keep(circuit, pair.n_prompts)
    # A metric of one's own may know the prompts by place: it always gets all of them.
    n = pair.n_prompts if callable(pair.metric) else n_few(pair.n_prompts)
    rows = spread(prompts.answer.reshape(pair.n_prompts, -1)[:, 0].cpu(), n)
    few = ground(checked_pair(model, choose(prompts, rows), circuit, metric), ablation, keep=True)
    if not has_behaviour(few.clean, few.empty):
        return _nothing_to_keep(circuit, pair.n_prompts)
    seen = search(model, prompts, circuit, here, few, rows)
    names, groups = list(seen.single), [*seen.spare, *seen.opposed]
    scores = component_scores(few, names, seen.single, seen.slopes)
    (kept,) = here.f([circuit.included])
    found, n_subsets, cost = minimality(here, few, circuit, groups) if minimal else ({}, 0, 0.0)
    inside = [name for name in names if name in components_of(circuit)]
    sets = [*((name,) for name in inside), *groups]
    lost = zip(_left(few, circuit.included, sets), _left(few, pair.graph.edges, sets), strict=True)
    searched = len(names) + seen.runs + 2 * len(sets) + 13  # runs of the few prompts
    return Validation(
        faithfulness=float(kept),
        completeness=float(1 - max([abs(kept - 1), *(abs(a - b) for a, b in lost)])),
        minimality=found,
        backups=tuple(seen.spare),
        cancelling=tuple(seen.opposed),
        negative=tuple(name for name in names if seen.single[name] <= -MARGIN),
        saturated=saturated(scores, seen.spare),
        scores=scores,
        disagreement=disagreement(scores),
        n_edges=circuit.n_edges,
        n_subsets=n_subsets,
        n_prompts=pair.n_prompts,
        passes=3 + len(rows) / pair.n_prompts * searched + cost,
        tests=circuit_tests(model, prompts, circuit, ablation=ablation, metric=metric) if tests else None,
    )


def _left(here: Ground, within: torch.Tensor, groups: Sequence[Group]) -> list[float]:
    """f of a circuit without each group."""
    (whole,) = here.f([within])
    return [float(whole) - lost for lost in here.effects(groups, within)]


def _nothing_to_keep(circuit: Circuit, n_prompts: int) -> Validation:
    return Validation(
        faithfulness=math.nan,
        completeness=math.nan,
        minimality=dict.fromkeys(circuit.edges(), math.nan),
        backups=(),
        cancelling=(),
        negative=(),
        saturated=(),
        scores={},
        disagreement="clean and replaced runs have the same metric: there is no behaviour to explain",
        n_edges=circuit.n_edges,
        n_subsets=0,
        n_prompts=n_prompts,
        passes=2,
    )
