"""TransformerLens' NativeModel as a plain torch module: small models that are trained here.

`TransformerBridge.boot_native` returns a model that is already hooked; `NativeModel` with `initialize_native_model` is the same
network, with the same logits, without the hooks.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError, nearest

if TYPE_CHECKING:
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge.sources.native.model import NativeModel

ARCHITECTURE = "native"
_ELSEWHERE = (
    "self",
    "kwargs",
    "architecture",
    "device",
    "dtype",
)  # the handle says where and how precise the weights are


@cache
def _defaults() -> dict[str, Any]:
    """The fields of a native model's configuration and their default values (`inspect.Parameter.empty` where there is none)."""
    from transformer_lens.config import TransformerBridgeConfig

    base = TransformerBridgeConfig.__mro__[1]
    signatures = [inspect.signature(kind).parameters for kind in (base, TransformerBridgeConfig)]
    return {
        name: parameter.default
        for parameters in signatures
        for name, parameter in parameters.items()
        if name not in _ELSEWHERE
    }


def bridge_config(config: Mapping[str, Any]) -> TransformerBridgeConfig:
    """The TransformerLens configuration that `config` (a config.json of architecture "native") describes.

    Raises:
        InputError: a field that TransformerLens' native models do not have, or that they cannot do without.
    """
    from transformer_lens.config import TransformerBridgeConfig

    fields = {name: value for name, value in config.items() if name != "architecture"}
    known = _defaults()
    for name in fields:
        if name not in known:
            raise InputError(f"unknown field {name!r} in a native model's configuration{nearest(name, known)}")
    for name, default in known.items():
        if default is inspect.Parameter.empty and name not in fields:
            raise InputError(f"a native model's configuration needs {name!r}")
    try:
        return TransformerBridgeConfig(**fields)
    except (TypeError, ValueError) as error:
        raise InputError(f"this native model's configuration does not work: {error}") from error


def build(config: Mapping[str, Any], *, seed: int | None = None) -> NativeModel:
    """A NativeModel in eval mode, initialised from `seed` (else `config["seed"]`); leaves the global generator as it was."""
    from transformer_lens.model_bridge.sources.native.init import initialize_native_model
    from transformer_lens.model_bridge.sources.native.model import NativeModel

    cfg = bridge_config(config)
    if cfg.parallel_attn_mlp:
        raise InputError("native models have no parallel attention and MLP; use a GPT-NeoX configuration for that")
    with torch.random.fork_rng(devices=[]):
        module = NativeModel(cfg)
        initialize_native_model(module, cfg, seed=seed)
    return module.eval()


def check(config: Mapping[str, Any]) -> None:
    """Raises InputError for a model that cannot be built or run; tried without its numbers (on the meta device)."""
    from transformer_lens.model_bridge.sources.native.model import NativeModel

    cfg = bridge_config(config)
    try:
        with torch.device("meta"), torch.no_grad():
            NativeModel(cfg)(torch.zeros(1, min(cfg.n_ctx, 4), dtype=torch.long))
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, NotImplementedError) as error:
        raise InputError(f"this native model's configuration does not work: {' '.join(str(error).split())}") from None


def describe(module: NativeModel) -> dict[str, Any]:
    """The config.json of a NativeModel in memory: the fields in which it differs from TransformerLens' defaults."""
    found: dict[str, Any] = {"architecture": ARCHITECTURE}
    for name, default in _defaults().items():
        value = getattr(module.cfg, name, default)
        plain = value is None or isinstance(value, bool | int | float | str | list | dict)
        if plain and value != default:
            found[name] = float(value) if isinstance(value, float) else value  # NumPy's floats are not JSON
    return found
