"""Cohere 1 and 2 (Command R, Aya): attention and MLP in parallel behind one norm, scaled logits; the second with windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("CohereForCausalLM", "Cohere2ForCausalLM")
VARIANTS = ({"sliding_window": 4}, {"use_qk_norm": True, "attention_bias": True})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of Cohere's models."""
    qk_norm = bool(config.get("use_qk_norm"))
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
        q_norm="self_attn.q_norm" if qk_norm else None,
        k_norm="self_attn.k_norm" if qk_norm else None,
        ln2="input_layernorm",
        mlp="mlp",
        mlp_in="mlp.gate_proj",
        mlp_up="mlp.up_proj",
        mlp_final="mlp.down_proj",
        parallel=True,
        rotary=True,
        logit_scale=config.get("logit_scale", 0.0625),
    )
