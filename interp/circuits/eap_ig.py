"""Edge attribution patching with integrated gradients over the inputs (Hanna et al. 2024, arXiv 2403.17806).

    score(u->r) = (u_clean − u_corrupt) · mean over a in [0, 1] of ∂metric/∂(what r reads), the embeddings being
    corrupt + a·(clean − corrupt).

The rule for the mean is a choice. A selection between two tokens switches over in a narrow part of the path, which
five fixed points can miss in every prompt; `spread` takes other points for each prompt.
`experiments/benchmarks/circuits_quadrature.py` compares the rules with exact edge effects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from interp.circuits._attribution import gradients_along, pair_of, parts, replaced_by, run_clean, run_corrupt
from interp.circuits._circuit import Circuit
from interp.circuits._edges import changes_of, edge_scores
from interp.circuits._quadrature import points
from interp.circuits._scored import scored

if TYPE_CHECKING:
    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


def eap_ig(
    model: Model,
    prompts: Prompts,
    *,
    metric: Metric = "logit_diff",
    steps: int = 5,
    rule: str = "spread",
    ablation: str = "corrupt",
) -> Circuit:
    """Every edge's score from two runs and `steps` runs with gradients; `rule` is one of `_quadrature.RULES`, `ablation`
    as for `eap` (the path starts at what the embeddings are replaced by)."""
    pair = pair_of(model, prompts, metric, ablation=ablation)
    fixed, path = replaced_by(pair, ablation), points(rule, steps, pair.n_prompts)
    total = torch.zeros(pair.graph.edges.shape)
    for rows, part in parts(pair):
        clean, corrupt = run_clean(part), fixed or run_corrupt(part)
        changes = changes_of(part, clean, corrupt)
        for grads in gradients_along(part, path, rows, corrupt.pre[0], clean.pre[0], clean.logits):
            total += edge_scores(part, changes, grads)
    passes = 2 + 3 * steps
    return scored(pair, total, "eap-ig", passes=passes, steps=steps, rule=rule, ablation=ablation)
