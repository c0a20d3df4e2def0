"""SmolLM3: Llama, with every fourth layer unrotated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("SmolLM3ForCausalLM",)
VARIANTS = ({"no_rope_layers": [1, 0, 1]}, {"no_rope_layers": [0, 1, 0], "attention_bias": True, "mlp_bias": True})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of SmolLM3."""
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
        mlp_in="mlp.gate_proj",
        mlp_up="mlp.up_proj",
        mlp_final="mlp.down_proj",
        rotary=True,
    )
