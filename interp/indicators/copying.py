"""Copying by the OV circuit of every head (Elhage et al. 2021, A Mathematical Framework for Transformer Circuits):
Σλ / Σ|λ| over the eigenvalues of W_U W_O W_V W_E, the map from the attended token to the logits. 1 copies, −1 avoids
what it attends to, 0 neither.

Norms between the weights are left out. NaN where all eigenvalues are 0, or input and output vocabulary differ in size.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interp.indicators._composition import copying_scores
from interp.measure.observe import Observation

NEEDS: dict[str, str] = {}
DIMS, UNIT, ONLINE = ("layer", "head"), "share", True


def copying(obs: Observation) -> Float[Tensor, "layer head"]:
    """From −1 to 1."""
    return copying_scores(obs.model)
