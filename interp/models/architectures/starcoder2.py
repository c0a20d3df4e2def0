"""StarCoder 2: rotary positions, grouped key/value heads, an MLP without gate, biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("Starcoder2ForCausalLM",)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"sliding_window": 4, "use_bias": False})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of StarCoder 2."""
    return Sites(
        embed="model.embed_tokens",
        blocks="model.layers",
        ln_final="model.norm",
        unembed="lm_head",
        ln1="input_layernorm",
        attn="self_attn",
        q="self_attn.q_proj",
        k="self_attn.k_proj",
        v="self_attn.v_proj",
        o="self_attn.o_proj",
        ln2="post_attention_layernorm",
        mlp="mlp",
        mlp_in="mlp.c_fc",
        mlp_final="mlp.c_proj",
        rotary=True,
    )
