"""Entropy of attention, in nats, head by head: −Σ_keys a ln a at the query that predicts the answer, mean over prompts.

0 for a head that attends to one position, ln n for one that spreads over n (Zhai et al. 2023, arXiv 2303.06296,
follow its collapse).
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.special import entr

from interp.measure.observe import Observation

NEEDS = {"pattern": "answer"}
DIMS, UNIT, ONLINE = ("layer", "head"), "nats", True


def attention_entropy(obs: Observation) -> Float[Tensor, "layer head"]:
    """Masked keys have no attention and add nothing."""
    return entr(obs["pattern"].double()).sum(dim=-1).mean(dim=1)
