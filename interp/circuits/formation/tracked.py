"""What following a circuit gives: a snapshot a checkpoint, and what they say together about when it formed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from interp.circuits._circuit import Circuit
from interp.circuits._graph import edge_mask
from interp.figures.text import html, told
from interp.files import plain
from interp.table.forming import Presence

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import plotly.graph_objects as go
    from jaxtyping import Bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """One checkpoint.

    circuit: scores of all edges (or nodes); in it, the edges that reach 80 % faithfulness, as few as the ranking
        allows (none of them, if none do).
    carried, whole: per held-out prompt, by the circuit and by the whole model (weak criterion). strict, whole_strict: the
        same by the strict criterion. inherited: carried by the previous checkpoint's circuit; None at the first.
    metric: the clean run's mean logit
        difference on these.
    noise_floor: similarity to the circuit that the held-out prompts give: what other prompts alone change.
    similarity: to the previous checkpoint's circuit, NaN at the first.
    roles: the best head's score in each role.
    passes: what all this cost, in forward passes over the prompts.
    """

    step: int
    circuit: Circuit
    carried: Bool[np.ndarray, "prompt"]
    whole: Bool[np.ndarray, "prompt"]
    strict: Bool[np.ndarray, "prompt"]
    whole_strict: Bool[np.ndarray, "prompt"]
    inherited: Bool[np.ndarray, "prompt"] | None
    metric: float
    noise_floor: float
    similarity: float
    roles: Mapping[str, tuple[str, float]]
    passes: float

    @property
    def size(self) -> float:
        """Edges needed for 80 % faithfulness, NaN where no part of the ranking has it."""
        return float(self.circuit.n_edges) if self.circuit.n_edges else math.nan

    def to_json(self) -> dict[str, Any]:
        """All but the circuit's scores, as plain data: `edges` are those that are in. NaN becomes null."""
        return {
            "edges": self.circuit.edges(),
            "carried": self.carried.astype(int).tolist(),
            "whole": self.whole.astype(int).tolist(),
            "strict": self.strict.astype(int).tolist(),
            "whole_strict": self.whole_strict.astype(int).tolist(),
            "inherited": None if self.inherited is None else self.inherited.astype(int).tolist(),
            "metric": plain(self.metric),
            "noise_floor": plain(self.noise_floor),
            "roles": {role: [head, score] for role, (head, score) in self.roles.items() if not math.isnan(score)},
            "passes": self.passes,
        }


def chosen_edges(circuit: Circuit, found: Mapping[str, Any]) -> Circuit:
    """A stored circuit with the edges in it that `Snapshot.to_json` names."""
    return replace(circuit, included=edge_mask(circuit.graph, found["edges"]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TrackedCircuit:
    """What a run's checkpoints say about when the circuit formed.

    intervals: every presence, by the weak criterion. strict: the same by the criterion that behaviour is judged by.
    interval, band, declared_at, share: the first formation over all prompts, as `interp.table.forming.When` has them.
    """

    intervals: tuple[Presence, ...]
    strict: tuple[Presence, ...]
    interval: tuple[int | None, int] | None
    band: tuple[int | None, int] | None
    declared_at: int | None
    share: float
    snapshots: tuple[Snapshot, ...]

    def __repr__(self) -> str:
        steps = [snap.step for snap in self.snapshots]
        span = f", steps {steps[0]} to {steps[-1]}" if steps else ""
        return told(
            f"TrackedCircuit: {len(steps)} checkpoints{span}",
            *(
                f"{name}: {', '.join(_told(each) for each in found[:4]) or 'never present'}"
                + (f" and {len(found) - 4} more" if len(found) > 4 else "")
                for name, found in (("weak", self.intervals), ("strict", self.strict))
            ),
            ".intervals, .strict, .plot(), .film(), .to_pandas()",
        )

    def _repr_html_(self) -> str:
        return html(repr(self), self.to_pandas().to_dict("records"))

    def plot(self) -> go.Figure:
        """The share of held-out prompts that the circuit carries at every checkpoint, by the weak and the strict criterion,
        beside the whole model's; the presences are shaded."""
        from interp.circuits.formation.figure import tracked_figure

        return tracked_figure(self)

    def film(self) -> go.Figure:
        """The circuits themselves, with a slider over the checkpoints."""
        from interp.figures.circuit import draw_circuit

        return draw_circuit({snap.step: snap.circuit for snap in self.snapshots})

    def to_pandas(self) -> pd.DataFrame:
        """A row a checkpoint: step, the shares of prompts that the circuit (carried, strict) and the whole model (whole,
        whole_strict) get right, size in edges, metric, similarity to the previous checkpoint's circuit and its noise floor."""
        import pandas as pd

        shares = ("carried", "whole", "strict", "whole_strict")
        rows = [
            {"step": snap.step}
            | {name: float(getattr(snap, name).mean()) for name in shares}
            | {name: getattr(snap, name) for name in ("size", "metric", "similarity", "noise_floor", "passes")}
            for snap in self.snapshots
        ]
        return pd.DataFrame(rows)

    def node_rows(self) -> list[dict[str, Any]]:
        """The trajectory of every node's score, a row a checkpoint and component, in the table's columns."""
        return [
            {"step": snap.step, "measure": snap.circuit.method, "component": name, "value": value, "online": True}
            for snap in self.snapshots
            for name, value in snap.circuit.node_scores().items()
        ]

    def edge_scores(self, edge: str) -> dict[int, float]:
        """Step -> score of one edge."""
        return {snap.step: snap.circuit.edge_scores()[edge] for snap in self.snapshots}


def _told(presence: Presence) -> str:
    before, first = presence.formed
    formed = f"from the start ({first})" if before is None else f"formed in ({before}, {first}]"
    lost = "" if presence.lost is None else f", lost in ({presence.lost[0]}, {presence.lost[1]}]"
    replaced = f", replaced {len(presence.replaced)} times" if presence.replaced else ""
    part = "" if presence.share == 1 else f" ({presence.share:.0%} of the prompts)"
    return f"{formed}{lost}{replaced}{part}"
