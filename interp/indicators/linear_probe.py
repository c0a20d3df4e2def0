"""Accuracy, on the test split, of a linear probe for the target, fitted on the training split's residual stream,
layer by layer (Alain & Bengio 2016, arXiv 1610.01644). The probe is a ridge regression on one-hot targets, so that
its fit is exact and needs no randomness."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.indicators._probe import ridge_scores
from interp.measure.observe import Observation

NEEDS = {"train.resid_post": "answer", "test.resid_post": "answer"}
DIMS, UNIT, ONLINE = ("layer",), "share", True


def linear_probe(obs: Observation, *, ridge: float = 1e-3) -> Float[Tensor, "layer"]:
    """Share of the scored test positions. NaN where a split scores nothing."""
    train, test = obs.targets("train"), obs.targets("test")
    if len(train) == 0 or len(test) == 0:
        return torch.full((obs.model.n_layers,), float("nan"))
    classes = torch.unique(train)
    wanted = (train[:, None] == classes).double()
    layers = zip(obs["train.resid_post"], obs["test.resid_post"], strict=True)
    guesses = [classes[ridge_scores(x.double(), wanted, y.double(), ridge).argmax(dim=1)] for x, y in layers]
    return torch.stack([(guess == test).double().mean() for guess in guesses])
