"""What is put in a component's place where backups are looked for.

A corrupt value speaks for another answer, and where that is the wrong one asked about, two heads of which one is enough look
like halves. So does a mean, which speaks a little for all answers, where one head does with little. So backups are looked for
with nothing put in, and with what a third answer's prompt has there (a mean where there is none).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from interp.circuits._attribution import choose, pair_of
from interp.circuits.validation._effects import Ground, ground

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

    from interp.models import Model
    from interp.types import Prompts

CHECK_PROMPTS, CHECK_LEAST = 24, 12
"""What was found on few prompts has to hold on others, a quarter of all, so many at most and at least: of 64 random models 11
had a group by 8 prompts alone, 1 on 24 others as well."""
LEAST_SPAN = 0.1
"""A view in which less than this share of the behaviour is lost by taking everything out cannot say what parts of it do."""


def views(
    model: Model,
    prompts: Prompts,
    rows: Int[Tensor, "row"],
    whole: Ground,
) -> list[Ground]:
    """These rows' question by what is put in a component's place. whole: the question on all prompts."""
    metric = whole.pair.metric
    pair = pair_of(model, choose(prompts, rows), metric)
    third = _third_answers(prompts, rows, every=callable(metric))
    found = [
        ground(pair, "zero", keep=True),
        ground(pair, "mean", keep=True)
        if third is None
        else ground(pair_of(model, third, metric), "corrupt", keep=True),
    ]
    span = whole.clean - whole.empty
    return [view for view in found if (view.clean - view.empty) / span >= LEAST_SPAN]


def rows_to_check(n_prompts: int, rows: Int[Tensor, "row"]) -> Int[Tensor, "row"]:
    """Others than these, evenly spaced; all prompts where these are most of them."""
    rest = torch.tensor(sorted(set(range(n_prompts)) - set(rows.tolist())), dtype=torch.long)
    if len(rest) < len(rows):
        return torch.arange(n_prompts)
    n = min(len(rest), max(CHECK_LEAST, min(CHECK_PROMPTS, n_prompts // 4)))
    return rest[torch.linspace(0, len(rest) - 1, n).round().long().unique()]


def _third_answers(prompts: Prompts, rows: Int[torch.Tensor, "row"], *, every: bool) -> Prompts | None:
    """These rows, each with another of the prompts in the place of its corrupt one: one that answers neither as the clean nor
    as the wrong answer does, read at the same place. None where fewer than half of the rows (`every`: than all) find one.

    What such a prompt puts in speaks for neither answer, and yet it is what the model is used to."""
    answer, wrong = (t.reshape(len(t), -1)[:, 0].cpu() for t in (prompts.answer, prompts.wrong))
    fits = (answer[None, :] != answer[rows, None]) & (answer[None, :] != wrong[rows, None])
    for where in (prompts.position, prompts.mask):
        if isinstance(where, torch.Tensor):
            flat = where.reshape(len(where), -1).cpu()
            fits &= (flat[None, :] == flat[rows, None]).all(-1)
    found = fits.any(1)
    if int(found.sum()) < (len(rows) if every else max(1, len(rows) / 2)):
        return None
    # Evenly spread over those that fit, so that no one prompt stands for all.
    donors = [int(row.nonzero()[at % int(row.sum()), 0]) for at, row in enumerate(fits) if bool(row.any())]
    return replace(choose(prompts, rows[found]), corrupt=prompts.clean[donors])
