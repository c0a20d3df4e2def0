"""BERT: every position sees every other, and the stream itself is normed after attention and after the MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.models.sites import Sites, refuse

ARCHITECTURES = ("BertForMaskedLM",)


def sites(config: Mapping[str, Any]) -> Sites:
    """Sites of BERT; the logits at a position are for the token there, which a prompt masks."""
    refuse(config, is_decoder=False, add_cross_attention=False, chunk_size_feed_forward=0)
    return Sites(
        embed="bert.embeddings.word_embeddings",
        pos_embed="bert.embeddings.position_embeddings",
        blocks="bert.encoder.layer",
        ln_final="cls.predictions.transform",
        unembed="cls.predictions.decoder",
        ln1=None,
        attn="attention.self",
        q="attention.self.query",
        k="attention.self.key",
        v="attention.self.value",
        o="attention.output.dense",
        ln2=None,
        mlp=("intermediate.dense", "intermediate.intermediate_act_fn", "output.dense"),
        mlp_in="intermediate.dense",
        mlp_final="output.dense",
        post_norm=True,
        causal=False,
    )
