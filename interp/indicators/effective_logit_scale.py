"""Effective logit scale: Euclidean length of the logits, mean over all inputs of the training and the test split (Khanh
2026, arXiv 2606.18465, as the code that the author published computes it).

Not centred, and over the whole vocabulary; `logit_scale` is centred, a root mean square, and on the prompts. Published
with a temperature that divides the logits: these are the logits as the model gives them. It was proposed as what a larger
weight norm delays grokking through. NaN where neither split is scored. Costs a pass over each split.
"""

from __future__ import annotations

import torch

from interp.measure.observe import Observation

NEEDS = {"train.logits": "answer", "test.logits": "answer"}
DIMS, UNIT, ONLINE = (), "logits", True


def effective_logit_scale(obs: Observation) -> float:
    """Each scored position counts once; proportional to the unembedding."""
    lengths = [obs[f"{split}.logits"].norm(dim=-1, dtype=torch.float64) for split in ("train", "test")]
    return float(torch.cat(lengths).mean())
