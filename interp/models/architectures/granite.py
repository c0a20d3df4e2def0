"""Granite: Llama with factors on the embedding, on what blocks add to the residual stream, and on the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, llama_like

ARCHITECTURES = ("GraniteForCausalLM",)
VARIANTS = (
    {"embedding_multiplier": 3.0, "residual_multiplier": 0.4, "logits_scaling": 2.5, "attention_multiplier": 0.3},
)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of Granite; what attention and MLP add is taken with its factor."""
    return llama_like(
        resid_scale=config.get("residual_multiplier", 1.0),
        logit_scale=1 / config.get("logits_scaling", 1.0),
        embed_scale=config.get("embedding_multiplier", 1.0),
    )
