"""Accuracy of linear probes for a task's hidden variables (say, whether a carry comes in), fitted on one half of the
prompts and tested on the other, layer by layer: the mean over the variables of the balanced accuracy (mean of the
shares right among true and among false cases; 1/2 is chance).

`task.structure.labels(tokens)` gives the variables as booleans, Bool[prompt, answer_len] each; every place of each
that is at least twice true and false in both halves counts. NaN for tasks without labels. The probe is a ridge
regression on ±1 (Alain & Bengio 2016, arXiv 1610.01644).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.indicators._probe import ridge_scores
from interp.measure.observe import Observation

NEEDS = {"resid_post": "answer"}
DIMS, UNIT, ONLINE = ("layer",), "share", True


def label_probe(obs: Observation, *, ridge: float = 1e-2) -> Float[Tensor, "layer"]:
    """In [0, 1]. Which half a prompt is in depends on its tokens only, so that the prompts' order does not matter."""
    labels = obs.task.structure.labels
    nowhere = torch.full((obs.model.n_layers,), float("nan"))
    if labels is None:
        return nowhere
    truths = torch.cat([values.bool() for values in labels(obs.prompts.clean).values()], dim=1)
    fit = _half(obs)
    enough = [((truths[half] == side).sum(dim=0) >= 2) for half in (fit, ~fit) for side in (True, False)]
    truths = truths[:, torch.stack(enough).all(dim=0)]
    if truths.shape[1] == 0:
        return nowhere
    return torch.stack([_balanced(x.double(), truths, fit, ridge) for x in obs["resid_post"]])


def _half(obs: Observation) -> Bool[Tensor, "prompt"]:
    """Alternate prompts in the order of their tokens read as numbers."""
    keys = obs.prompts.clean.tolist()
    half = torch.zeros(len(keys), dtype=torch.bool)
    half[sorted(range(len(keys)), key=keys.__getitem__)[::2]] = True
    return half


def _balanced(
    x: Float[Tensor, "prompt feature"], truths: Bool[Tensor, "prompt label"], fit: Bool[Tensor, "prompt"], ridge: float
) -> Float[Tensor, ""]:
    guess = ridge_scores(x[fit], truths[fit].double() * 2 - 1, x[~fit], ridge) > 0
    truth = truths[~fit]
    sensitivity = (guess & truth).sum(dim=0) / truth.sum(dim=0)
    specificity = (~guess & ~truth).sum(dim=0) / (~truth).sum(dim=0)
    return ((sensitivity + specificity) / 2).double().mean()
