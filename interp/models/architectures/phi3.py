"""Phi 3: one projection for queries, keys and values, one for gate and linear branch of the MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("Phi3ForCausalLM",)
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {
        "sliding_window": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.67},
    },
)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of Phi 3."""
    return Sites(
        embed="model.embed_tokens",
        blocks="model.layers",
        ln_final="model.norm",
        unembed="lm_head",
        ln1="input_layernorm",
        attn="self_attn",
        q="self_attn.qkv_proj",
        k="self_attn.qkv_proj",
        v="self_attn.qkv_proj",
        o="self_attn.o_proj",
        qkv="concat",
        ln2="post_attention_layernorm",
        mlp="mlp",
        mlp_in="mlp.gate_up_proj",
        fused_gate=True,
        mlp_final="mlp.down_proj",
        rotary=True,
    )
