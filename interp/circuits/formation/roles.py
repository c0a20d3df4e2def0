"""What heads do, read off their attention on given prompts: roles are compared across checkpoints and runs, head
numbers cannot be.

Each role is a share of attention, averaged over the queries for which it is defined (NaN if there is none), in [0, 1]:
    previous   on the token just before
    duplicate  on earlier occurrences of the query's own token
    induction  on the tokens that followed earlier occurrences of the query's own token (Olsson et al. 2022)
    first      on the first position
    answer     from the answer's position on earlier occurrences of the right answer (a mover of names or digits)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from interp.hooks.activations import capture
from interp.measure.metrics import Questions, questions

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from interp.models import Model
    from interp.types import Prompts

ROLES = ("previous", "duplicate", "induction", "first", "answer")


def role_scores(model: Model, prompts: Prompts) -> dict[str, Float[Tensor, "layer head"]]:
    """Every head's score in every role, on the clean prompts."""
    asked = questions(prompts, model)
    with torch.no_grad():
        pattern = capture(model, asked.clean, "pattern", mask=asked.mask)["pattern"].float().cpu()
    return {role: _mean_share(pattern, *where) for role, where in _targets(asked).items()}


def role_nulls(model: Model, prompts: Prompts) -> dict[str, float]:
    """Each role's score of a head that looks at all it may see alike: what a role's score is to be held against. A task
    full of repeats gives every head much of `duplicate` and `induction`."""
    asked = questions(prompts, model)
    seen = _real(asked)[:, None, :].expand(-1, asked.clean.shape[1], -1).float()
    if str(model.config.get("attention_dir", "causal")) == "causal":
        seen = seen.tril()
    alike = (seen / seen.sum(-1, keepdim=True).clamp(min=1))[None, :, None]
    return {role: float(_mean_share(alike, *where)[0, 0]) for role, where in _targets(asked).items()}


def _real(asked: Questions) -> Bool[Tensor, "prompt pos"]:
    return torch.ones_like(asked.clean, dtype=torch.bool) if asked.mask is None else asked.mask.bool()


def _targets(asked: Questions) -> dict[str, tuple[Tensor, Tensor]]:
    return role_targets(asked.clean, _real(asked), asked.answer[:, 0], asked.read[:, 0])


def role_targets(
    tokens: Int[Tensor, "prompt pos"],
    real: Bool[Tensor, "prompt pos"],
    answer: Int[Tensor, "prompt"],
    read: Int[Tensor, "prompt"],
) -> dict[str, tuple[Bool[Tensor, "prompt query key"], Bool[Tensor, "prompt query"]]]:
    """Role -> which keys count for each query, and which queries count."""
    n_pos = tokens.shape[1]
    place = torch.arange(n_pos)
    earlier = place[None, :] < place[:, None]
    both = real[:, :, None] & real[:, None, :]
    same = (tokens[:, :, None] == tokens[:, None, :]) & earlier & both
    after = torch.zeros_like(same)
    after[:, :, 1:] = same[:, :, :-1]
    after &= (place[None, :] <= place[:, None]) & both
    previous = (place[None, :] == place[:, None] - 1) & both
    first = (place == 0)[None, None, :] & both
    at_answer = place[None, :, None] == read[:, None, None]
    on_answer = (tokens[:, None, :] == answer[:, None, None]) & at_answer & earlier & both
    keys = {"previous": previous, "duplicate": same, "induction": after, "first": first, "answer": on_answer}
    return {role: (where, where.any(-1) & (place > 0)) for role, where in keys.items()}


def _mean_share(
    pattern: Float[Tensor, "layer prompt head query key"], keys: Tensor, queries: Tensor
) -> Float[Tensor, "layer head"]:
    if not bool(queries.any()):
        return torch.full((pattern.shape[0], pattern.shape[2]), torch.nan)
    share = (pattern * keys[None, :, None]).sum(-1)
    return (share * queries[None, :, None]).sum((1, 3)) / queries.sum()
