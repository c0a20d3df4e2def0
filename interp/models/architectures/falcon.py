"""Falcon: one key and value for all heads (or one each), rotary or ALiBi positions, attention and MLP in parallel or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, refuse

ARCHITECTURES = ("FalconForCausalLM",)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"alibi": True, "parallel_attn": False, "multi_query": False, "bias": True})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of Falcon; not of its newer decoder architecture, which groups keys and values."""
    refuse(config, new_decoder_architecture=False)
    parallel, multi_query = config.get("parallel_attn", True), config.get("multi_query", True)
    return Sites(
        embed="transformer.word_embeddings",
        blocks="transformer.h",
        ln_final="transformer.ln_f",
        unembed="lm_head",
        ln1="input_layernorm",
        attn="self_attention",
        q="self_attention.query_key_value",
        k="self_attention.query_key_value",
        v="self_attention.query_key_value",
        o="self_attention.dense",
        qkv="concat" if multi_query else "interleaved",
        ln2="input_layernorm" if parallel else "post_attention_layernorm",
        mlp="mlp",
        mlp_in="mlp.dense_h_to_4h",
        mlp_final="mlp.dense_4h_to_h",
        parallel=parallel,
        attention="softmax",
        tuple_blocks=True,
    )
