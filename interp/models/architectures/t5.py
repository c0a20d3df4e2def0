"""T5 (and T0, mT5, FLAN-T5): an encoder, a decoder and the attention that leads from one to the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("T5ForConditionalGeneration", "MT5ForConditionalGeneration")
_TINY = {
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
}
VARIANTS = (_TINY, {**_TINY, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of T5; of its own record, where the decoder begins and ends."""
    gated, scaled = bool(config.get("is_gated_act")), config.get("scale_decoder_outputs", True)
    decoder = _stack("decoder", "layer.0.SelfAttention", "layer.2", gated)
    stacks = {
        "encoder": _stack("encoder", "layer.0.SelfAttention", "layer.1", gated),
        "decoder": decoder,
        "cross": _stack("decoder", "layer.1.EncDecAttention", "layer.2", gated),
    }
    return replace(decoder, logit_scale=config.get("d_model", 512) ** -0.5 if scaled else 1.0, stacks=stacks)


def _stack(name: str, attn: str, last: str, gated: bool) -> Sites:
    return Sites(
        embed=f"{name}.embed_tokens",
        blocks=f"{name}.block",
        ln_final=f"{name}.final_layer_norm",
        unembed="lm_head",
        ln1=f"{attn.rpartition('.')[0]}.layer_norm",
        attn=attn,
        q=f"{attn}.q",
        k=f"{attn}.k",
        v=f"{attn}.v",
        o=f"{attn}.o",
        ln2=f"{last}.layer_norm",
        mlp=f"{last}.DenseReluDense",
        mlp_in=f"{last}.DenseReluDense.{'wi_0' if gated else 'wi'}",
        mlp_up=f"{last}.DenseReluDense.wi_1" if gated else None,
        mlp_final=f"{last}.DenseReluDense.wo",
        tuple_blocks=True,
        causal=name == "decoder",
    )
