"""OLMo 2 and 3: attention and MLP read the residual stream itself and are normed on the way out; q and k normed over all heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, llama_like

ARCHITECTURES = ("Olmo2ForCausalLM", "Olmo3ForCausalLM")
VARIANTS = ({"sliding_window": 4}, {"attention_bias": True})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of OLMo 2 and 3 (every layer of the third but one in four sees a window)."""
    return llama_like(
        ln1=None,
        q_norm="self_attn.q_norm",
        k_norm="self_attn.k_norm",
        flat_qk_norm=True,
        ln1_post="post_attention_layernorm",
        ln2=None,
        ln2_post="post_feedforward_layernorm",
    )
