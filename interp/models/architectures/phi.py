"""Phi 1 and 2: attention and MLP in parallel behind one norm, partial rotary positions, a bias on the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("PhiForCausalLM",)
_ROTATED = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.67}}
VARIANTS = (_ROTATED, {**_ROTATED, "qk_layernorm": True, "num_key_value_heads": 4})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of Phi."""
    qk_norm = bool(config.get("qk_layernorm"))
    return Sites(
        embed="model.embed_tokens",
        blocks="model.layers",
        ln_final="model.final_layernorm",
        unembed="lm_head",
        ln1="input_layernorm",
        attn="self_attn",
        q="self_attn.q_proj",
        k="self_attn.k_proj",
        v="self_attn.v_proj",
        o="self_attn.dense",
        q_norm="self_attn.q_layernorm" if qk_norm else None,
        k_norm="self_attn.k_layernorm" if qk_norm else None,
        ln2="input_layernorm",
        mlp="mlp",
        mlp_in="mlp.fc1",
        mlp_final="mlp.fc2",
        parallel=True,
        rotary=True,
    )
