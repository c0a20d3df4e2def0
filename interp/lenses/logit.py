"""The logit lens: what the model would say if it stopped after a block."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from interp.hooks.activations import capture
from interp.models import weights
from interp.models.shadowing import evaluating
from interp.models.site_tensors import mapped
from interp.models.state import agree, proved, refusal

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from interp.models import Model


def logit_lens(
    model: Model,
    tokens: Int[Tensor, "prompt pos"],
    *,
    layers: int | Sequence[int] | None = None,
    positions: int | Sequence[int] | Int[Tensor, "prompt"] | Int[Tensor, "prompt chosen"] | None = None,
    mask: Bool[Tensor, "prompt pos"] | None = None,
) -> Float[Tensor, "layer prompt pos vocab"]:
    """The logits that the residual stream after each block would give (nostalgebraist 2020): final norm, unembedding, and
    the cap on the logits where the architecture has one. The last layer's are the model's own.

    layers, positions, mask: as in `interp.capture`.

    Raises:
        InputError: an architecture without a map of sites; a layer or position that does not exist; a module whose logits are
            not what its final norm and unembedding make of the last stream (somebody's hook).
    """
    mapped(model)
    if not proved(model, "lens", partial(_ends_in_the_logits, model, tokens, positions, mask)):
        raise refusal(
            model, "final norm and unembedding of the last block's stream give other logits than the module's own"
        )
    stream = capture(model, tokens, "resid_post", layers=layers, positions=positions, mask=mask)["resid_post"]
    with torch.no_grad(), evaluating(model.module):
        return torch.stack([weights.logits(model, after) for after in stream])


def _ends_in_the_logits(model: Model, tokens: Tensor, positions: Any, mask: Tensor | None) -> bool:
    found = capture(
        model, tokens, ("resid_post", "logits"), layers=-1, positions=positions, logits_at=positions, mask=mask
    )
    with torch.no_grad(), evaluating(model.module):
        return agree(weights.logits(model, found["resid_post"][0]), found["logits"][0])


def capped(logits: Tensor, cap: float | None) -> Tensor:
    """Logits under a tanh cap, where the architecture has one."""
    return logits if cap is None else torch.tanh(logits / cap) * cap
