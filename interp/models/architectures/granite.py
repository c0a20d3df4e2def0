"""Granite: Llama with factors on the embedding, on what blocks add to the residual stream, and on the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("GraniteForCausalLM",)
VARIANTS = (
    {"embedding_multiplier": 3.0, "residual_multiplier": 0.4, "logits_scaling": 2.5, "attention_multiplier": 0.3},
)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of Granite; what attention and MLP add is taken with its factor."""
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
        resid_scale=config.get("residual_multiplier", 1.0),
        rotary=True,
        logit_scale=1 / config.get("logits_scaling", 1.0),
        embed_scale=config.get("embedding_multiplier", 1.0),
    )
