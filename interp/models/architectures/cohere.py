"""Cohere 1 and 2 (Command R, Aya): attention and MLP in parallel behind one norm, scaled logits; the second with windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, llama_like

ARCHITECTURES = ("CohereForCausalLM", "Cohere2ForCausalLM")
VARIANTS = ({"sliding_window": 4}, {"use_qk_norm": True, "attention_bias": True})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of Cohere's models."""
    qk_norm = bool(config.get("use_qk_norm"))
    return llama_like(
        q_norm="self_attn.q_norm" if qk_norm else None,
        k_norm="self_attn.k_norm" if qk_norm else None,
        ln2="input_layernorm",
        parallel=True,
        logit_scale=config.get("logit_scale", 0.0625),
    )
