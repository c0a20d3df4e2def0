"""OLMo 2 and 3: attention and MLP read the residual stream itself and are normed on the way out; q and k normed over all heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("Olmo2ForCausalLM", "Olmo3ForCausalLM")
VARIANTS = ({"sliding_window": 4}, {"attention_bias": True})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of OLMo 2 and 3 (every layer of the third but one in four sees a window)."""
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
        flat_qk_norm=True,
        ln1_post="post_attention_layernorm",
        ln2=None,
        mlp="mlp",
        mlp_in="mlp.gate_proj",
        mlp_up="mlp.up_proj",
        mlp_final="mlp.down_proj",
        ln2_post="post_feedforward_layernorm",
        rotary=True,
    )
