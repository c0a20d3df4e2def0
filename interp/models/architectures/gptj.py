"""GPT-J: attention and MLP in parallel behind one norm; a part of each head rotated, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("GPTJForCausalLM",)
VARIANTS = ({"rotary_dim": 4},)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of GPT-J."""
    return Sites(
        embed="transformer.wte",
        blocks="transformer.h",
        ln_final="transformer.ln_f",
        unembed="lm_head",
        ln1="ln_1",
        attn="attn",
        q="attn.q_proj",
        k="attn.k_proj",
        v="attn.v_proj",
        o="attn.out_proj",
        ln2="ln_1",
        mlp="mlp",
        mlp_in="mlp.fc_in",
        mlp_final="mlp.fc_out",
        parallel=True,
        attention="softmax",
        tuple_blocks=True,
    )
