"""Representation collapse: mean cosine similarity of the residual stream at the answer position over pairs of
different prompts; 1 where all prompts look alike, as on the plateau before a jump (Gopalani & Hu 2025). NaN for a
single prompt."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from interp.measure.observe import Observation

NEEDS = {"resid_post": "answer"}
DIMS, UNIT, ONLINE = ("layer",), "cosine", True


def cosine_collapse(obs: Observation) -> Float[Tensor, "layer"]:
    """(|Σ u|² − Σ |u|²) / (n (n − 1)) over the n unit vectors u."""
    units = normalize(obs["resid_post"].double(), dim=-1)
    n = units.shape[1]
    pairs = units.sum(dim=1).square().sum(dim=-1) - units.square().sum(dim=(1, 2))
    return pairs / (n * (n - 1)) if n > 1 else pairs * float("nan")
