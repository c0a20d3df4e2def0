"""Gates on the outputs of attention heads: how the answer's score answers to them, and switching heads off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from interp.hooks.interventions import Intervention
from interp.indicators._log_probs import answer_log_probs
from interp.measure.passes import run_prompts

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from interp.measure.observe import Observation


def gate_gradients(obs: Observation) -> Float[Tensor, "layer prompt head"]:
    """∂L/∂ξ at ξ = 1 for a gate ξ on each head's output z, prompt by prompt: Σ over positions and d_head of z ∂L/∂z."""
    return (obs["z"].double() * obs["z.grad"].double()).sum(dim=(2, 4))


def score_without(obs: Observation, heads: Iterable[tuple[int, int]]) -> float:
    """Log-probability, in nats, of the answer's first token, mean over prompts, with the outputs z of some heads
    (layer, head) set to zero: a pass of its own."""
    off = [Intervention(site="z", layer=layer, heads=head, kind="zero") for layer, head in heads]
    obs.spend(obs.prompts.clean.numel())
    return float(answer_log_probs(obs, run_prompts(obs.model, obs.prompts, off))[:, 0].mean())
