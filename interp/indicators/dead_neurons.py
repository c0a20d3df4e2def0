"""Share of the neurons of each layer that are off (activation at most 0) at the answer position of every prompt; NaN
without MLPs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.measure.observe import Observation

NEEDS = {"mlp_post": "answer"}
DIMS, UNIT, ONLINE = ("layer",), "share", True


def dead_neurons(obs: Observation) -> Float[Tensor, "layer"]:
    """In [0, 1]; meaningful for activation functions that are 0 below 0, such as ReLU."""
    if not obs.has_mlp:
        return torch.full((obs.model.n_layers,), float("nan"))
    return (obs["mlp_post"] <= 0).all(dim=1).double().mean(dim=1)
