"""Lenses and direct attribution: what the residual stream already says, who wrote it, and what each head looks for."""

from interp.lenses.attribution import BREAKDOWNS, Attribution
from interp.lenses.direct import direct_logit_attribution
from interp.lenses.heads import attention_figure, attention_view, composition, head_scores
from interp.lenses.logit import logit_lens

__all__ = [
    "BREAKDOWNS",
    "Attribution",
    "attention_figure",
    "attention_view",
    "composition",
    "direct_logit_attribution",
    "head_scores",
    "logit_lens",
]
