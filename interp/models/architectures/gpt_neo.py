"""GPT-Neo: like GPT-2 with split projections, unscaled scores and every other layer's attention local."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("GPTNeoForCausalLM",)
VARIANTS = ({"attention_types": [[["global", "local", "global"], 1]], "window_size": 4},)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of GPT-Neo."""
    return Sites(
        embed="transformer.wte",
        pos_embed="transformer.wpe",
        blocks="transformer.h",
        ln_final="transformer.ln_f",
        unembed="lm_head",
        ln1="ln_1",
        attn="attn.attention",
        q="attn.attention.q_proj",
        k="attn.attention.k_proj",
        v="attn.attention.v_proj",
        o="attn.attention.out_proj",
        ln2="ln_2",
        mlp="mlp",
        mlp_in="mlp.c_fc",
        mlp_final="mlp.c_proj",
        attention="method",
        tuple_blocks=True,
    )
