"""Attention progress of every head (Gopalani & Hu 2025, arXiv 2506.13688): share of its attention that is on the
positions that the task requires, mean over the queries that require some. `task.structure.required(tokens)` says which
keys each query needs; NaN for tasks without it. Answers of several tokens are read on: the queries that predict the
later ones count too, in a pass of its own over the prompts with the right answers behind them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.hooks.activations import capture
from interp.measure.metrics import questions
from interp.measure.observe import Observation

NEEDS = {"pattern": "all"}
DIMS, UNIT, ONLINE = ("layer", "head"), "attention", True


def attention_progress(obs: Observation) -> Float[Tensor, "layer head"]:
    """In [0, 1]."""
    required = obs.task.structure.required
    if required is None:
        return torch.full((obs.model.n_layers, obs.model.n_heads), float("nan"))
    tokens, pattern = _with_answers(obs) if obs.answers.shape[1] > 1 else (obs.prompts.clean, obs["pattern"])
    needed = required(tokens)
    attention = torch.where(needed[:, None], pattern.double(), 0).sum(dim=-1)
    asking = needed.any(dim=-1)
    return (attention * asking[:, None]).sum(dim=(1, 3)) / asking.sum()


def _with_answers(
    obs: Observation,
) -> tuple[Int[Tensor, "prompt pos"], Float[Tensor, "layer prompt head query key"]]:
    """The prompts with their answers behind them (but for the last token), and the attention patterns there."""
    asked = questions(obs.prompts, obs.model)
    obs.spend(asked.clean.numel())
    return asked.clean, capture(obs.model, asked.clean, "pattern", mask=asked.mask, device="cpu")["pattern"]
