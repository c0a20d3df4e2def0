"""SmolLM3: Llama, with every fourth layer unrotated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, llama_like

ARCHITECTURES = ("SmolLM3ForCausalLM",)
VARIANTS = ({"no_rope_layers": [1, 0, 1]}, {"no_rope_layers": [0, 1, 0], "attention_bias": True, "mlp_bias": True})


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of SmolLM3."""
    return llama_like()
