"""Key composition of every head with the heads of the layers below (Elhage et al. 2021, A Mathematical Framework for
Transformer Circuits): how much of what an earlier head writes its key side reads, ‖A B‖ / (‖A‖ ‖B‖) in Frobenius
norms, for the best writer.

B is the writer's OV matrix, A the reader's QK matrix from its key side. Two random matrices of d_model dimensions
give about 1/√d_model. NaN in layer 0.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interp.indicators._composition import strongest_writer
from interp.indicators._weights import heads
from interp.measure.observe import Observation

NEEDS: dict[str, str] = {}
DIMS, UNIT, ONLINE = ("layer", "head"), "share", True


def k_composition(obs: Observation) -> Float[Tensor, "layer head"]:
    """From 0 to 1, for the earlier head that composes most."""
    w = heads(obs.model)
    return strongest_writer(w, reader=w.k, onwards=w.q)
