"""What heads write, as tokens and as what other heads read (Elhage et al. 2021), without forming a d_model × d_model
matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from interp.indicators._weights import Heads, heads
from interp.models.weights import W_E, W_U

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from interp.models import Model


def strongest_writer(
    w: Heads, *, reader: Float[Tensor, "layer head d_head d_model"], onwards: Float[Tensor, "layer head d_head d_model"]
) -> Float[Tensor, "layer head"]:
    """max over the heads of earlier layers of ‖onwardsᵀ reader oᵀ v‖ / (‖onwardsᵀ reader‖ ‖oᵀ v‖); NaN in layer 0."""
    scores = torch.full(reader.shape[:2], math.nan, dtype=torch.float64)
    for layer in range(1, len(reader)):
        writer_o, writer_v = w.o[:layer].flatten(0, 1), w.v[:layer].flatten(0, 1)
        read, on = reader[layer][:, None], onwards[layer][:, None]
        composed = product_norm(on, (read @ writer_o.mT) @ writer_v)
        scores[layer] = (composed / (product_norm(on, read) * product_norm(writer_o, writer_v))).amax(dim=1)
    return scores


def copying_scores(model: Model) -> Float[Tensor, "layer head"]:
    """Σλ / Σ|λ| over the eigenvalues of W_U W_O W_V W_E of every head. Those that are not 0 are those of the small
    matrix W_V W_E W_U W_O of d_head × d_head."""
    w = heads(model)
    read, written = (side.detach().double().cpu() for side in (W_E(model), W_U(model).mT))
    n = min(len(read), len(written))
    values = torch.linalg.eigvals(w.v @ (read[:n].T @ written[:n]) @ w.o.mT)
    return values.real.sum(dim=-1) / values.abs().sum(dim=-1)


def product_norm(a: Float[Tensor, "... inner m"], b: Float[Tensor, "... inner n"]) -> Float[Tensor, "..."]:
    """Frobenius norm of aᵀ b: ‖aᵀ b‖² = tr(a aᵀ b bᵀ)."""
    return ((a @ a.mT) * (b @ b.mT)).sum(dim=(-2, -1)).clamp(min=0).sqrt()
