"""Linear CKA of the residual stream at the answer position with the previous checkpoint's, layer by layer (Kornblith
et al. 2019, arXiv 1905.00414): ‖Xᵀ Y‖² / (‖Xᵀ X‖ ‖Yᵀ Y‖) of the centred activations. NaN without a previous
checkpoint or where one is constant."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.measure.observe import Observation

NEEDS = {"resid_post": "answer", "previous": "all"}
DIMS, UNIT, ONLINE = ("layer",), "similarity", True


def cka_previous(obs: Observation) -> Float[Tensor, "layer"]:
    """1 for the same representation up to rotation, shift and scale."""
    if obs.previous is None:
        return torch.full((obs.model.n_layers,), float("nan"))
    x, y = (_centred(o["resid_post"]) for o in (obs, obs.previous))
    return _squared(x, y) / (_squared(x, x) * _squared(y, y)).sqrt()


def _centred(x: Float[Tensor, "layer prompt d_model"]) -> Float[Tensor, "layer prompt d_model"]:
    return x.double() - x.double().mean(dim=1, keepdim=True)


def _squared(
    x: Float[Tensor, "layer prompt d_model"], y: Float[Tensor, "layer prompt d_model"]
) -> Float[Tensor, "layer"]:
    return (x.mT @ y).square().sum(dim=(1, 2))
