"""GPT-NeoX (Pythia): partial rotary positions, projections fused head by head, attention and MLP in parallel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("GPTNeoXForCausalLM",)
VARIANTS = ({"rotary_pct": 0.34}, {"use_parallel_residual": False, "attention_bias": False})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of GPT-NeoX; `use_parallel_residual=False` gives ordinary, sequential blocks."""
    return Sites(
        embed="gpt_neox.embed_in",
        blocks="gpt_neox.layers",
        ln_final="gpt_neox.final_layer_norm",
        unembed="lm_head",
        ln1="input_layernorm",
        attn="attention",
        q="attention.query_key_value",
        k="attention.query_key_value",
        v="attention.query_key_value",
        o="attention.dense",
        qkv="interleaved",
        ln2="post_attention_layernorm",
        mlp="mlp",
        mlp_in="mlp.dense_h_to_4h",
        mlp_final="mlp.dense_4h_to_h",
        parallel=config.get("use_parallel_residual", True),
        rotary=True,
    )
