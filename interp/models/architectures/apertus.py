"""Apertus: normed queries and keys, an MLP without gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("ApertusForCausalLM",)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of Apertus."""
    return Sites(
        embed="model.embed_tokens",
        blocks="model.layers",
        ln_final="model.norm",
        unembed="lm_head",
        ln1="attention_layernorm",
        attn="self_attn",
        q="self_attn.q_proj",
        k="self_attn.k_proj",
        v="self_attn.v_proj",
        o="self_attn.o_proj",
        q_norm="self_attn.q_norm",
        k_norm="self_attn.k_norm",
        ln2="feedforward_layernorm",
        mlp="mlp",
        mlp_in="mlp.up_proj",
        mlp_final="mlp.down_proj",
        rotary=True,
    )
