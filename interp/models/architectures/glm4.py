"""GLM-4: norms before and after attention and MLP, partial rotary positions, gate and linear branch in one projection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, llama_like

ARCHITECTURES = ("Glm4ForCausalLM",)
VARIANTS = ({"head_dim": 8}, {"head_dim": 8, "attention_bias": False})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of GLM-4."""
    return llama_like(
        ln1_post="post_self_attn_layernorm",
        mlp_in="mlp.gate_up_proj",
        fused_gate=True,
        ln2_post="post_mlp_layernorm",
        mlp_up=None,
    )
