"""EXAONE 4: norms after attention and MLP only, normed queries and keys, layers without rotation between windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("Exaone4ForCausalLM",)
VARIANTS = ({"sliding_window": 4, "sliding_window_pattern": 2},)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of EXAONE 4."""
    return Sites(
        embed="model.embed_tokens",
        blocks="model.layers",
        ln_final="model.norm",
        unembed="lm_head",
        ln1=None,
        attn="self_attn",
        q="self_attn.q_proj",
        k="self_attn.k_proj",
        v="self_attn.v_proj",
        o="self_attn.o_proj",
        q_norm="self_attn.q_norm",
        k_norm="self_attn.k_norm",
        ln1_post="post_attention_layernorm",
        ln2=None,
        mlp="mlp",
        mlp_in="mlp.gate_proj",
        mlp_up="mlp.up_proj",
        mlp_final="mlp.down_proj",
        ln2_post="post_feedforward_layernorm",
        rotary=True,
    )
