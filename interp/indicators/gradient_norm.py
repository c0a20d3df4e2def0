"""Length of the gradient of the training loss: ‖∇L‖₂ over all parameters, on a sample of the training split (the
whole of a small one)."""

from __future__ import annotations

from interp.indicators._loss import dot, gradient, mean_loss, parameters, training_sample
from interp.measure.observe import Observation

NEEDS: dict[str, str] = {}
DIMS, UNIT, ONLINE, COST = (), "nats per weight", True, "backward"


def gradient_norm(obs: Observation, *, tokens: int = 16384) -> float:
    """Euclidean; the loss is the mean over scored positions, in nats, without weight decay."""
    sample = training_sample(obs, tokens)
    _, slope = gradient(mean_loss(obs.model, sample), parameters(obs.model))
    obs.spend(sample.tokens.numel(), backward=1)
    return dot(slope, slope) ** 0.5
