"""Small models that are trained here: TransformerLens' NativeModel, without importing TransformerLens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from interp.models.native import norms
from interp.models.native.config import ARCHITECTURE, NativeConfig, bridge_config, described, does_not_work, read
from interp.models.native.initial import initialise
from interp.models.native.module import NativeModel

__all__ = ["ARCHITECTURE", "HOMES", "NativeModel", "bridge_config", "build", "check", "described", "empty", "is_native"]

HOMES = (NativeModel.__module__, norms.__name__, "transformer_lens.model_bridge.sources.native.model")
"""Where the classes of native models are: here, and TransformerLens' own, which somebody may bring."""

SMALL = 10_000_000
"""Numbers in a model that is tried with them, in some 20 ms: on the meta device torch imports its compiler, which takes 2 s."""

_FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, KeyError, NotImplementedError)


def is_native(module: nn.Module) -> bool:
    """Whether this is a native model, this library's or TransformerLens' own."""
    return type(module).__name__ == NativeModel.__name__ and type(module).__module__ in HOMES


def build(config: Mapping[str, Any], *, seed: int | None = None) -> NativeModel:
    """A NativeModel in eval mode, initialised from `seed` (else `config["seed"]`); leaves the global generator as it was.

    Raises:
        InputError: a configuration that is not a native model's, or of which none can be built.
    """
    with torch.random.fork_rng(devices=[]):
        module = _made(read(config))
        initialise(module, seed=seed)
    return module.eval()


def empty(config: Mapping[str, Any]) -> NativeModel:
    """As `build`, without numbers (on the meta device)."""
    with torch.device("meta"):
        return _made(read(config))


def check(config: Mapping[str, Any]) -> None:
    """Raises InputError for a model that cannot be built or run; a large one is tried without its numbers."""
    cfg = read(config)
    device = "cpu" if _size(cfg) <= SMALL else "meta"
    with torch.device(device), torch.random.fork_rng(devices=[]), torch.no_grad():
        module = _made(cfg)
        try:
            module(torch.zeros(1, min(cfg.n_ctx, 4), dtype=torch.long))
        except _FAILURES as error:
            raise does_not_work(error) from None


def _size(cfg: NativeConfig) -> int:
    """No fewer numbers than a model of this configuration holds."""
    a_layer = cfg.n_ctx**2 + cfg.d_model * (4 * cfg.n_heads * cfg.d_head + 3 * cfg.d_mlp)
    return cfg.n_layers * a_layer + cfg.d_model * (cfg.n_ctx + 2 * max(cfg.d_vocab, cfg.d_vocab_out))


def _made(cfg: NativeConfig) -> NativeModel:
    try:
        return NativeModel(cfg)
    except _FAILURES as error:
        raise does_not_work(error) from None
