"""GLM-4: norms before and after attention and MLP, partial rotary positions, gate and linear branch in one projection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("Glm4ForCausalLM",)
VARIANTS = ({"head_dim": 8}, {"head_dim": 8, "attention_bias": False})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of GLM-4."""
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
        ln1_post="post_self_attn_layernorm",
        ln2="post_attention_layernorm",
        mlp="mlp",
        mlp_in="mlp.gate_up_proj",
        fused_gate=True,
        mlp_final="mlp.down_proj",
        ln2_post="post_mlp_layernorm",
        rotary=True,
    )
