"""Apertus: normed queries and keys, an MLP without gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, llama_like

ARCHITECTURES = ("ApertusForCausalLM",)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of Apertus."""
    return llama_like(
        ln1="attention_layernorm",
        q_norm="self_attn.q_norm",
        k_norm="self_attn.k_norm",
        ln2="feedforward_layernorm",
        mlp_in="mlp.up_proj",
        mlp_up=None,
    )
