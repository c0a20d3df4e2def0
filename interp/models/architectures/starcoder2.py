"""StarCoder 2: rotary positions, grouped key/value heads, an MLP without gate, biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, llama_like

ARCHITECTURES = ("Starcoder2ForCausalLM",)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"sliding_window": 4, "use_bias": False})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of StarCoder 2."""
    return llama_like(mlp_in="mlp.c_fc", mlp_final="mlp.c_proj", mlp_up=None)
