"""Gemma 1, 2 and 3: scaled embeddings; from the second on, a norm after attention and MLP and capped scores or normed q, k."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, llama_like, refuse

ARCHITECTURES = ("GemmaForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM")
VARIANTS = ({"sliding_window": 4, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0},)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of a Gemma model."""
    refuse(config, use_bidirectional_attention=(None, False))
    first = config["architecture"] == "GemmaForCausalLM"
    qk_norm = config["architecture"] == "Gemma3ForCausalLM"
    return llama_like(
        q_norm="self_attn.q_norm" if qk_norm else None,
        k_norm="self_attn.k_norm" if qk_norm else None,
        ln1_post=None if first else "post_attention_layernorm",
        ln2="post_attention_layernorm" if first else "pre_feedforward_layernorm",
        ln2_post=None if first else "post_feedforward_layernorm",
        logit_cap=None if first else config.get("final_logit_softcapping"),
    )
