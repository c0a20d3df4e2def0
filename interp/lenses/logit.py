"""The logit lens: what the model would say if it stopped after a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from interp.hooks.activations import capture
from interp.models import weights
from interp.models.site_tensors import mapped

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
        InputError: an architecture without a map of sites; a layer or position that does not exist.
    """
    mapped(model)
    stream = capture(model, tokens, "resid_post", layers=layers, positions=positions, mask=mask)["resid_post"]
    with torch.no_grad():
        return torch.stack([weights.logits(model, after) for after in stream])


def capped(logits: Tensor, cap: float | None) -> Tensor:
    """Logits under a tanh cap, where the architecture has one."""
    return logits if cap is None else torch.tanh(logits / cap) * cap
