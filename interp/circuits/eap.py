"""Edge attribution patching (Syed et al. 2023, arXiv 2310.10348): exact edge effects to first order, with the
gradient of the clean run.

    score(u->r) = (u_clean − u_corrupt) · ∂metric/∂(what r reads), mean over prompts; positive = the edge helps the
    metric.

Three forward passes' worth for the runs and one backward. A metric whose gradient vanishes on the clean run (KL to
it) gives zeros: use a logit difference. Saturated attention and ReLUs hide edges from it (use `eap_ig`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from interp.circuits._attribution import pair_of, parts, replaced_by, run_clean, run_corrupt
from interp.circuits._circuit import Circuit
from interp.circuits._edges import changes_of, edge_scores
from interp.circuits._scored import scored

if TYPE_CHECKING:
    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


def eap(model: Model, prompts: Prompts, *, metric: Metric = "logit_diff", ablation: str = "corrupt") -> Circuit:
    """Every edge's score, from one clean run with gradients and one corrupt run.

    ablation: what u would be replaced by: its value in the corrupt run (`corrupt`), nothing (`zero`), or its mean over
        all corrupt runs, position by position (`mean`).
    """
    pair = pair_of(model, prompts, metric, ablation=ablation)
    fixed, total = replaced_by(pair, ablation), torch.zeros(pair.graph.edges.shape)
    for _, part in parts(pair):
        clean = run_clean(part, grad=True)
        total += edge_scores(part, changes_of(part, clean, fixed or run_corrupt(part)), clean)
    return scored(pair, total, "eap", passes=4, ablation=ablation)
