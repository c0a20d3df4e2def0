"""How far a device's or a precision's numbers are from the CPU's in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from interp.errors import InputError
from interp.hooks.activations import capture
from interp.models.building import build, torch_dtype
from interp.models.handle import Model

if TYPE_CHECKING:
    from torch import Tensor


TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""A larger relative difference from float32 on the CPU is not rounding."""


def verify_device(
    model: Model, device: str | torch.device, dtype: str | torch.dtype = "float32", *, seed: int = 0
) -> Mapping[str, float | bool]:
    """The largest difference from the CPU in float32, relative to the largest value, of a forward pass, a capture and a sweep.

    Returns `forward` (logits), `capture` (residual stream after each block), `pattern` and `patch` (all heads, log-probability),
    each on random tokens of `seed`, and whether it `agrees`: none is above the precision's TOLERANCE. Around 1e-6 is what
    float32 gives, 1e-2 bfloat16; 1 is wrong. The model itself is not moved: copies of its weights are.

    Raises:
        InputError: the device is not there.
    """
    rng = torch.Generator().manual_seed(seed)
    n_pos = min(12, model.n_ctx)
    clean = torch.randint(model.d_vocab, (4, n_pos), generator=rng)
    corrupt = clean.clone()
    corrupt[:, n_pos // 2] = (corrupt[:, n_pos // 2] + 1) % model.d_vocab
    here = _measured(_copy(model, "cpu", torch.float32), clean, corrupt)
    there = _measured(_copy(model, device, torch_dtype(dtype)), clean, corrupt)
    distances = {name: _distance(here[name], there[name]) for name in here}
    return {**distances, "agrees": all(found <= TOLERANCE[torch_dtype(dtype)] for found in distances.values())}


def _copy(model: Model, device: str | torch.device, dtype: torch.dtype) -> Model:
    copied = Model(module=build(model.config), config=model.config, sites=model.sites)
    try:
        copied.module.to(device=device, dtype=dtype)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"cannot put a model on {device!r}: {error}") from error
    copied.swap(model.module.state_dict())
    return copied


def _measured(model: Model, clean: Tensor, corrupt: Tensor) -> dict[str, Tensor]:
    from interp.patching import patch
    from interp.types import Prompts

    with torch.no_grad():
        logits = model(clean)
    kept = capture(model, clean, ("resid_post", "pattern"))
    answer = logits[:, -1].argmax(-1).cpu()
    scores = patch(model, Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=answer), metric="log_prob")
    return {"forward": logits, "capture": kept["resid_post"], "pattern": kept["pattern"], "patch": scores.values}


def _distance(a: Tensor, b: Tensor) -> float:
    a, b = a.double().cpu(), b.double().cpu()
    return float((a - b).abs().max() / a.abs().max().clamp(min=1e-30))
