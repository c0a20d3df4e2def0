"""Tiny models with random weights, of every architecture that has a map: to try code on, and to prove the maps with.

Nothing is the same size as anything else (4 heads of 6 on 2 key/value heads, 3 layers, 29 tokens), so that axes cannot be
taken for each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from interp.models import native
from interp.models.building import build, wrap
from interp.models.sites import architectures, variants

if TYPE_CHECKING:
    from interp.models.handle import Model

_SIZES = {
    "vocab_size": 29, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40,
    "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.3,
}  # fmt: skip
_WHERE_THERE_ARE = {"num_key_value_heads": 2, "head_dim": 6, "pad_token_id": None}
_NATIVE = {
    "architecture": native.ARCHITECTURE, "d_model": 24, "d_head": 6, "n_heads": 4, "n_layers": 3, "n_ctx": 32, "d_mlp": 40,
    "d_vocab": 29, "d_vocab_out": 29, "initializer_range": 0.3,
}  # fmt: skip


def tiny_config(architecture: str, **settings: Any) -> dict[str, Any]:
    """What config.json holds for a tiny model of that architecture; `settings` go before the usual tiny sizes."""
    if architecture == native.ARCHITECTURE:
        return {**_NATIVE, **settings}
    import transformers

    kind = getattr(transformers, architecture).config_class
    default = kind()
    there = {name: value for name, value in _WHERE_THERE_ARE.items() if _is_set(kind, default, name)}
    return {"architecture": architecture, **_SIZES, **there, **settings}


def _is_set(kind: type, default: Any, name: str) -> bool:
    """Whether the configuration has this setting, rather than computing it."""
    return hasattr(default, name) and not isinstance(getattr(kind, name, None), property)


def tiny_model(config: Mapping[str, Any], seed: int = 0) -> Model:
    """A model of that configuration with random weights, in which no norm is all ones and no bias all zeros."""
    module = build(config, seed=seed)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=rng))
    return wrap(module)


def tiny_configs() -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, configuration) of every architecture with a map, under each of its variants."""
    for architecture in architectures():
        for number, settings in enumerate(variants(architecture)):
            name = architecture.removesuffix("ForCausalLM").removesuffix("LMHeadModel")
            yield f"{name}{f'-{number}' if number else ''}", tiny_config(architecture, **settings)
