"""Walking over checkpoints with one model in memory: weights are swapped in place while the next ones are being
read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError
from interp.families.address import format_address
from interp.families.ahead import read
from interp.families.loading import load, reference
from interp.families.read import fresh_module
from interp.models.shadowing import evaluating
from interp.models.swapping import own_tensors
from interp.types import CheckpointRef

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from interp.models import Model

TOLERANCE = 1e-5
"""Largest difference in logits, relative to their largest magnitude, between a swapped model and a fresh one."""

_PROVED: set[tuple[str, str]] = set()


def stream(
    refs: Iterable[CheckpointRef | str | Path],
    model: Model | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
) -> Iterator[tuple[CheckpointRef, Model]]:
    """Each checkpoint in turn as (ref, model): always the same model, which holds the weights of `ref` until the next
    turn; its logits are those of a fresh load at every step.

    A new model is built where the configuration changes (another size). The next file is read by a thread while the
    caller computes. Weights are swapped in place; the first of each kind of file in a family (its names, shapes and dtypes)
    is proved against a model loaded afresh (`prove_swap`). A file that cannot be swapped in (its unembedding its own where the
    last one's was tied, say) is loaded afresh, in the same handle.

    Args:
        refs: as `load` takes them: references, addresses, folders.
        model: a model of the same architecture to reuse; a new one on `device` in `dtype` otherwise.

    Raises:
        InputError: a checkpoint that cannot be read (when its turn comes), or weights that do not fit.
    """
    given = model is not None
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="interp-read") as reader:
        ahead = None
        for given_ref in [*refs, None]:
            ref = reference(given_ref) if given_ref is not None else None
            after = None if ref is None else (ref, reader.submit(_read, ref))
            if ahead is not None:
                present, future = ahead
                config, weights = future.result()
                if model is None or (model.ref is not None and dict(model.config) != config):
                    model = load(present, device=device, dtype=dtype)
                else:
                    follow(model, present, weights, given=given)
                del weights, future
                yield present, model
            ahead = after


def follow(model: Model, ref: CheckpointRef, weights: Mapping[str, Tensor], *, given: bool = False) -> None:
    """The handle with the weights of `ref`: swapped in, or, where that cannot be and the module is not somebody's own
    (`given`), in a module loaded afresh."""
    try:
        model.swap(weights, ref=ref)
    except InputError:
        if given:
            raise
        fresh = load(ref, device=model.device, dtype=model.dtype)
        model.module, model.sites, model.ref = fresh.module, fresh.sites, ref
        return
    prove_swap(model, ref, weights)


def prove_swap(model: Model, ref: CheckpointRef, weights: Mapping[str, Tensor] | None = None) -> None:
    """Compares the logits of `model`, into which `ref` was swapped, with those of a model loaded afresh.

    Once per family, architecture, dtype and kind of file (the names, shapes and dtypes of its `weights`) in this process: a
    later call returns at once.

    Raises:
        InputError: the logits differ by more than TOLERANCE; a swap of this architecture cannot be trusted.
    """
    described = json.dumps(dict(model.config), sort_keys=True, default=str)
    kind = sorted((name, tuple(value.shape), str(value.dtype)) for name, value in (weights or {}).items())
    tied = own_tensors(model)[1]  # an own unembedding in one file unties the module that the next file goes into
    key = ref.family, sha256(f"{described}{model.dtype}{kind}{tied}".encode()).hexdigest()
    if key in _PROVED:
        return
    fresh = fresh_module(ref).to(device=model.device, dtype=model.dtype).eval()
    tokens = torch.arange(min(8, model.n_ctx)).remainder(model.d_vocab)[None]
    with torch.no_grad(), evaluating(model.module):
        found = model_logits(model.module, tokens.to(model.device))
        wanted = model_logits(fresh, tokens.to(model.device))
    difference = ((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30)).item()
    if bool(torch.isfinite(wanted).all()) and not difference <= TOLERANCE:
        raise InputError(
            f"swapping weights of {ref.family!r} ({model.config['architecture']}) in place gives other logits than a "
            f"model loaded afresh (relative difference {difference:.1e}); load each of its checkpoints on its own"
        )
    _PROVED.add(key)


def model_logits(module: Module, tokens: Tensor) -> Tensor:
    """Logits of a plain module, Hugging Face's or native."""
    output = module(tokens)
    return output if isinstance(output, torch.Tensor) else output.logits


def _read(ref: CheckpointRef) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        return read(ref)
    except InputError as error:
        raise InputError(f"{format_address(ref)}: {error}") from error
