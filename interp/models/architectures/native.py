"""TransformerLens' NativeModel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites

ARCHITECTURES = ("native",)
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"attn_only": True, "normalization_type": "LNPre"},
    {
        "gated_mlp": True,
        "normalization_type": "RMS",
        "positional_embedding_type": "rotary",
        "n_key_value_heads": 2,
        "act_fn": "silu",
        "rotary_dim": 6,
    },
)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of a native model: pre-norm blocks, optionally gated, attention-only, rotary or with grouped key/value heads."""
    gated, attn_only = bool(config.get("gated_mlp")), bool(config.get("attn_only"))
    cap = config.get("output_logits_soft_cap") or 0.0
    return Sites(
        embed="tok_embed",
        pos_embed="pos" if (config.get("positional_embedding_type") or "standard").lower() == "standard" else None,
        blocks="layers",
        ln_final="ln_out",
        unembed="head",
        ln1="ln1",
        attn="attn",
        q="attn.q",
        k="attn.k",
        v="attn.v",
        o="attn.o",
        ln2=None if attn_only else "ln2",
        mlp=None if attn_only else "mlp",
        mlp_in=None if attn_only else "mlp.gate" if gated else "mlp.fc_in",
        mlp_up="mlp.in" if gated and not attn_only else None,
        mlp_final=None if attn_only else "mlp.out" if gated else "mlp.fc_out",
        attention="native",
        tuple_blocks=True,
        rotary=(config.get("positional_embedding_type") or "standard").lower() == "rotary",
        logit_cap=cap if cap > 0 else None,
    )
