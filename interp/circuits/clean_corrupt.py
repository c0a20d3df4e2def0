"""EAP with the gradient averaged over the clean and the corrupt run: the trapezoid rule of two points, each with its
own tokens.

The cheapest remedy for saturation: an edge that is saturated in one run often is not in the other (Hanna et al. 2024
    compare it with EAP-IG).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.circuits._circuit import Circuit
from interp.circuits.eap_ig import eap_ig

if TYPE_CHECKING:
    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


def clean_corrupt(model: Model, prompts: Prompts, *, metric: Metric = "logit_diff") -> Circuit:
    """Every edge's score from a clean and a corrupt run, both with gradients."""
    from dataclasses import replace

    circuit = eap_ig(model, prompts, metric=metric, steps=2, rule="trapezoid")
    return replace(circuit, method="clean-corrupt")
