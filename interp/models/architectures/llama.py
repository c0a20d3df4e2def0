"""Llama and the architectures that share its modules: Mistral, Qwen 2 and 3, SmolLM, OLMo 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, llama_like, refuse

ARCHITECTURES = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "OlmoForCausalLM",
)
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {
        "sliding_window": 4,
        "use_sliding_window": True,
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": True,
    },
)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of a Llama-like model: RMSNorm, rotary positions, grouped key/value heads, gated MLP."""
    refuse(config, clip_qkv=None)
    qk_norm = config["architecture"] == "Qwen3ForCausalLM"
    return llama_like(q_norm="self_attn.q_norm" if qk_norm else None, k_norm="self_attn.k_norm" if qk_norm else None)
