"""GPT-OSS: mixture of experts, windows in every other layer, a learned score of each head for attending to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("GptOssForCausalLM",)
VARIANTS = ({"num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": 4},)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of GPT-OSS; a query's pattern sums to less than 1 where the head attends to nothing."""
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
        mlp_in=None,
        mlp_final=None,
        router="mlp.router",
        experts="mlp.experts",
        rotary=True,
    )
