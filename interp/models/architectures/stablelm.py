"""StableLM: partial rotary positions, LayerNorm, gated MLP; some with attention and MLP in parallel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, llama_like

ARCHITECTURES = ("StableLmForCausalLM",)
_ROTATED = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.67}}
VARIANTS = (_ROTATED, {**_ROTATED, "use_parallel_residual": True, "use_qkv_bias": True, "qk_layernorm": True})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of StableLM."""
    parallel, qk_norm = bool(config.get("use_parallel_residual")), bool(config.get("qk_layernorm"))
    return llama_like(
        q_norm="self_attn.q_layernorm" if qk_norm else None,
        k_norm="self_attn.k_layernorm" if qk_norm else None,
        ln2="input_layernorm" if parallel else "post_attention_layernorm",
        parallel=parallel,
    )
