"""OPT: learned positions; an MLP that is no module of its own and sees all positions of all prompts as one axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, refuse

ARCHITECTURES = ("OPTForCausalLM",)
VARIANTS = (
    {"word_embed_proj_dim": 24, "ffn_dim": 40},
    {"word_embed_proj_dim": 24, "ffn_dim": 40, "enable_bias": False},
)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of OPT; norms come first (as in all but the 350m model)."""
    refuse(config, do_layer_norm_before=True, _remove_final_layer_norm=False)
    refuse(config, word_embed_proj_dim=config.get("hidden_size"))
    return Sites(
        embed="model.decoder.embed_tokens",
        pos_embed="model.decoder.embed_positions",
        blocks="model.decoder.layers",
        ln_final="model.decoder.final_layer_norm",
        unembed="lm_head",
        ln1="self_attn_layer_norm",
        attn="self_attn",
        q="self_attn.q_proj",
        k="self_attn.k_proj",
        v="self_attn.v_proj",
        o="self_attn.out_proj",
        ln2="final_layer_norm",
        mlp=("fc1", "activation_fn", "fc2"),
        mlp_in="fc1",
        mlp_final="fc2",
        flat_mlp=True,
    )
