"""How many heads the skill needs (Michel et al. 2019, arXiv 1905.10650): heads are switched off one after the other,
the least important first; the area above (log-probability of the answer's first token, rescaled to 0 with no heads
and 1 with all) against the share of heads left.

Small where few heads carry the skill, 1/2 where each adds the same. Importance is |∂L/∂ξ|, mean over prompts and not
normalised by layer. NaN where switching off all heads does not hurt.
"""

from __future__ import annotations

import math

import torch

from interp.indicators._heads import gate_gradients, score_without
from interp.measure.observe import Observation

NEEDS = {"z": "all", "z.grad": "all"}
DIMS, UNIT, ONLINE, COST = (), "share", True, "many"


def masking_curve(obs: Observation, *, points: int = 8) -> float:
    """Trapezoid over at most `points` numbers of heads, as evenly spaced as can be; each costs a forward pass."""
    importance = gate_gradients(obs).abs().mean(dim=1)
    order = importance.flatten().argsort().tolist()
    off = sorted({round(i * len(order) / points) for i in range(points + 1)})
    scores = [score_without(obs, [divmod(head, obs.model.n_heads) for head in order[:n_off]]) for n_off in off]
    gain = scores[0] - scores[-1]
    if not gain > 0:
        return math.nan
    left = torch.tensor([1 - n / len(order) for n in off], dtype=torch.float64).flip(0)
    kept = torch.tensor([(score - scores[-1]) / gain for score in scores], dtype=torch.float64).flip(0)
    return 1 - float(torch.trapezoid(kept, left))
