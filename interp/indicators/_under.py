"""What the model says under the interventions that it trains under: its weights alone are the model without them, and one
that has learned with a clamped head cannot do without."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interp.measure.metrics import questions
from interp.measure.observe import Observation
from interp.measure.passes import run_prompts
from interp.training.edits import as_interventions, layer_edits


def logits_under(obs: Observation) -> Float[Tensor, "prompt answer_len vocab"]:
    """The logits that predict each answer token; those of the shared pass where nothing acts on a forward pass."""
    edits = layer_edits(obs.interventions, obs.model.config) if obs.interventions else {}
    if not edits:
        return obs["logits"]
    n_pos = questions(obs.prompts, obs.model).clean.shape[1]
    obs.spend(obs.prompts.clean.numel())
    return run_prompts(obs.model, obs.prompts, as_interventions(edits, n_pos))
