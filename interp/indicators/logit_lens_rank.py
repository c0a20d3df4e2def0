"""Logit lens (nostalgebraist 2020): rank of the answer's first token when the residual stream after each layer goes
straight to the last norm and the unembedding; 1 is the top, ties count half; mean over prompts."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.measure.observe import Observation
from interp.measure.scoring import token_rank
from interp.models.weights import logits

NEEDS = {"resid_post": "answer"}
DIMS, UNIT, ONLINE = ("layer",), "rank", True


def logit_lens_rank(obs: Observation) -> Float[Tensor, "layer"]:
    """After the last layer this is the rank in the model's own logits."""
    answer = obs.answers[:, 0]
    made = (logits(obs.model, x.to(obs.model.device)).cpu() for x in obs["resid_post"])
    return torch.stack([token_rank(layer, answer).mean() for layer in made])
