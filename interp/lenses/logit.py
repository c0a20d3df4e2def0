"""The logit lens: what the model would say if it stopped after a block."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from interp.figures.text import html, told
from interp.hooks.activations import capture
from interp.models import weights
from interp.models.shadowing import evaluating
from interp.models.site_tensors import check_indices, mapped
from interp.models.state import agree, proved, refusal
from interp.models.tokens import check_tokens

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from jaxtyping import Bool, Int
    from torch import Tensor

    from interp.models import Model


class LensLogits(torch.Tensor):
    """Logits [layer, prompt, pos, vocab] that show themselves; whatever is computed of them is a plain tensor.

    layers: which layers these are. tokenizer: the model's, for the figure's words.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    layers: list[int]
    tokenizer: Any

    def __repr__(self) -> str:  # type: ignore[override]
        axes = ", ".join(f"{name} {n}" for name, n in zip(("layer", "prompt", "pos", "vocab"), self.shape, strict=True))
        kind = str(self.dtype).removeprefix("torch.")
        return told(f"LensLogits [{axes}] {kind} on {self.device}", "a tensor, with .plot(prompt, labels=…, token=…)")

    def _repr_html_(self) -> str:
        return html(repr(self))

    def text(self, token: int) -> str:
        """A token as the tokenizer writes it; its number where there is none."""
        if self.tokenizer is None:
            return str(token)
        return str(self.tokenizer.decode([token]))

    def plot(self, prompt: int = 0, *, labels: Sequence[str] | None = None, token: int | None = None) -> go.Figure:
        """Layers × positions of one prompt: the likeliest token of each with its probability, or the probability of one
        `token`. labels: what stands at the positions.

        Raises:
            InputError: a prompt or token that is not there; labels that are not as many as positions.
        """
        from interp.lenses.figure import lens_figure

        return lens_figure(self, prompt, labels, token)


def logit_lens(
    model: Model,
    tokens: Int[Tensor, "prompt pos"],
    *,
    layers: int | Sequence[int] | None = None,
    positions: int | Sequence[int] | Int[Tensor, "prompt"] | Int[Tensor, "prompt chosen"] | None = None,
    mask: Bool[Tensor, "prompt pos"] | None = None,
) -> LensLogits:
    """The logits that the residual stream after each block would give (nostalgebraist 2020): final norm, unembedding, and
    the cap on the logits where the architecture has one. The last layer's are the model's own.

    layers, positions, mask: as in `interp.capture`.

    Raises:
        InputError: an architecture without a map of sites; a layer or position that does not exist; a module whose logits are
            not what its final norm and unembedding make of the last stream (somebody's hook).
    """
    mapped(model)
    check_tokens(model, tokens, mask)
    if not proved(model, "lens", partial(_ends_in_the_logits, model, tokens, positions, mask)):
        raise refusal(
            model, "final norm and unembedding of the last block's stream give other logits than the module's own"
        )
    stream = capture(model, tokens, "resid_post", layers=layers, positions=positions, mask=mask)["resid_post"]
    with torch.no_grad(), evaluating(model.module):
        found = torch.stack([weights.logits(model, after) for after in stream]).as_subclass(LensLogits)
    found.layers = check_indices("layer", layers, model.n_layers)
    found.tokenizer = model.tokenizer
    return found


def _ends_in_the_logits(model: Model, tokens: Tensor, positions: Any, mask: Tensor | None) -> bool:
    found = capture(
        model, tokens, ("resid_post", "logits"), layers=-1, positions=positions, logits_at=positions, mask=mask
    )
    with torch.no_grad(), evaluating(model.module):
        return agree(weights.logits(model, found["resid_post"][0]), found["logits"][0])


def capped(logits: Tensor, cap: float | None) -> Tensor:
    """Logits under a tanh cap, where the architecture has one."""
    return logits if cap is None else torch.tanh(logits / cap) * cap
