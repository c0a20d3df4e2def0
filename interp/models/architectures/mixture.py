"""Mixtures of experts in Llama's frame: Mixtral, OLMoE, Qwen 2 and 3 MoE. A block's MLP is router and experts as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, llama_like, refuse

ARCHITECTURES = ("MixtralForCausalLM", "OlmoeForCausalLM", "Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM")
_FEW = {"num_experts": 5, "num_local_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 40}
VARIANTS = ({**_FEW, "shared_expert_intermediate_size": 16}, {**_FEW, "norm_topk_prob": True, "num_experts_per_tok": 3})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of a mixture of experts in which every layer has experts; OLMoE norms q and k over all heads at once."""
    refuse(config, clip_qkv=None, mlp_only_layers=([], None), decoder_sparse_step=(1, None))
    flat = config["architecture"] == "OlmoeForCausalLM"
    qk_norm = flat or config["architecture"] == "Qwen3MoeForCausalLM"
    return llama_like(
        q_norm="self_attn.q_norm" if qk_norm else None,
        k_norm="self_attn.k_norm" if qk_norm else None,
        flat_qk_norm=flat,
        mlp_in=None,
        mlp_final=None,
        router="mlp.gate",
        experts="mlp.experts",
        mlp_up=None,
    )
