"""What a model reads and gives: token ids [prompt, pos] that fit it, logits [prompt, pos, vocab]."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch

from interp.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn


class Reader(Protocol):
    """What is needed of a handle here: the module, what it is called, and what it can read."""

    module: nn.Module
    config: Mapping[str, Any]

    @property
    def n_ctx(self) -> int: ...

    @property
    def n_tokens(self) -> int: ...

    @property
    def device(self) -> torch.device: ...


def check_tokens(model: Reader, tokens: Any, mask: Any) -> None:
    """Raises InputError unless `tokens` are token ids [prompt, pos] that fit the model and `mask` has their shape."""
    if (
        not isinstance(tokens, torch.Tensor)
        or tokens.dim() != 2
        or tokens.is_floating_point()
        or tokens.dtype == torch.bool
    ):
        got = f"{tokens.dtype} {tuple(tokens.shape)}" if isinstance(tokens, torch.Tensor) else type(tokens).__name__
        raise InputError(f"expected tokens as integers [prompt, pos], got {got}")
    if tokens.shape[1] > model.n_ctx:
        raise InputError(f"{tokens.shape[1]} tokens do not fit the model's context of {model.n_ctx}")
    if mask is not None and (not isinstance(mask, torch.Tensor) or mask.shape != tokens.shape):
        raise InputError(
            f"expected a mask of the tokens' shape {tuple(tokens.shape)}, got {tuple(getattr(mask, 'shape', ()))}"
        )
    check_vocabulary(tokens if mask is None else tokens.where(mask.to(tokens.device).bool(), 0), model.n_tokens)


def check_vocabulary(tokens: Tensor, n: int, *, what: str = "token") -> None:
    """Raises InputError unless all are token ids out of a vocabulary of n, the model's."""
    if tokens.numel():
        low, high = (int(extreme) for extreme in tokens.aminmax())
        if low < 0 or high >= n:
            raise InputError(f"there is no {what} {low if low < 0 else high} in this model's vocabulary of {n}")


def check_logits(model: Reader, output: Any, tokens: Tensor) -> None:
    """Raises InputError unless a module of one's own gave logits [prompt, pos, vocab]."""
    logits = output if isinstance(output, torch.Tensor) else getattr(output, "logits", None)
    if not isinstance(logits, torch.Tensor) or logits.dim() != 3 or logits.shape[:2] != tokens.shape:
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else f"a {type(output).__name__}"
        raise InputError(
            f"{model.config['architecture']} gives {got} for tokens {tuple(tokens.shape)}; "
            "expected logits [prompt, pos, vocab], or an object that has them as .logits"
        )


def whole_prompts(model: Reader, tokens: Tensor, mask: Tensor | None) -> dict[str, Tensor | bool]:
    """What an opaque module's forward is called with: the tokens, by the name of its first parameter."""
    kind = model.config["architecture"]
    if mask is not None and not bool(mask.all()):
        raise InputError(f"{kind} is a module of one's own: it is given whole prompts, and these have padding")
    first = next(iter(inspect.signature(model.module.forward).parameters.values()), None)
    if first is None or first.kind not in (first.POSITIONAL_OR_KEYWORD, first.KEYWORD_ONLY):
        raise InputError(f"{kind}.forward has no named first argument to take tokens [prompt, pos]")
    return {first.name: tokens.to(model.device)}
