"""MPT: linear biases on the scores for positions (ALiBi), projections fused as q, k, v; no biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, refuse

ARCHITECTURES = ("MptForCausalLM",)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of MPT."""
    refuse(config.get("attn_config") or {}, clip_qkv=None)
    return Sites(
        embed="transformer.wte",
        blocks="transformer.blocks",
        ln_final="transformer.norm_f",
        unembed="lm_head",
        ln1="norm_1",
        attn="attn",
        q="attn.Wqkv",
        k="attn.Wqkv",
        v="attn.Wqkv",
        o="attn.out_proj",
        qkv="concat",
        ln2="norm_2",
        mlp=("ffn.up_proj", "ffn.act", "ffn.down_proj"),
        mlp_in="ffn.up_proj",
        mlp_final="ffn.down_proj",
        attention="softmax",
        tuple_blocks=True,
    )
