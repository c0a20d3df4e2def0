"""GPT-OSS: mixture of experts, windows in every other layer, a learned score of each head for attending to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, llama_like

ARCHITECTURES = ("GptOssForCausalLM",)
VARIANTS = ({"num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": 4},)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of GPT-OSS; a query's pattern sums to less than 1 where the head attends to nothing."""
    return llama_like(mlp_in=None, mlp_final=None, router="mlp.router", experts="mlp.experts", mlp_up=None)
