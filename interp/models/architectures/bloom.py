"""BLOOM: linear biases on the scores for positions (ALiBi), projections fused head by head, a norm behind the embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, refuse

ARCHITECTURES = ("BloomForCausalLM",)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of BLOOM."""
    refuse(config, apply_residual_connection_post_layernorm=False, slow_but_exact=False)
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
        qkv="interleaved",
        ln2="post_attention_layernorm",
        mlp=("mlp.dense_h_to_4h", "mlp.gelu_impl", "mlp.dense_4h_to_h"),
        mlp_in="mlp.dense_h_to_4h",
        mlp_final="mlp.dense_4h_to_h",
        attention="softmax",
        tuple_blocks=True,
    )
