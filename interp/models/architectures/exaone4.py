"""EXAONE 4: norms after attention and MLP only, normed queries and keys, layers without rotation between windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, llama_like

ARCHITECTURES = ("Exaone4ForCausalLM",)
VARIANTS = ({"sliding_window": 4, "sliding_window_pattern": 2},)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of EXAONE 4."""
    return llama_like(
        ln1=None,
        q_norm="self_attn.q_norm",
        k_norm="self_attn.k_norm",
        ln1_post="post_attention_layernorm",
        ln2=None,
        ln2_post="post_feedforward_layernorm",
    )
