"""In-context linear regression, tokenised: pairs (x, w·x) for a slope w drawn anew for every sequence, then the
answer for a new x.

After Garg et al. 2022 (arXiv 2208.01066), over integers: x and w have integer coordinates and y = w·x is read out in
bins, so that token models can learn it, the right answer is exact, and the Bayes-optimal prediction is a sum over the
slopes that fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks import _check
from interp.tasks._splits import drawn, fill
from interp.types import Batch, Prompts, Structure, Task

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Generator, Tensor

MAX_HYPOTHESES = 1_000

TRIED: tuple[dict[str, Any], ...] = ({"n_points": 3}, {"n_points": 4, "dim": 2, "x_max": 2, "w_max": 3, "n_outputs": 5})
"""Parameters that the tests try."""


def linear_regression(*, n_points: int = 8, dim: int = 1, x_max: int = 8, w_max: int = 8, n_outputs: int = 17) -> Task:
    """n_points examples of `dim` tokens for x and one for y, then the tokens of one more x; every y is scored.

    Coordinates of x are uniform over ±1 … ±x_max, those of w over −w_max … w_max; the range of w·x is divided into
    n_outputs bins.
    Prompts are those whose examples settle the answer: every slope that fits them gives it. The corrupt prompt has
    the same x tokens and the y tokens of another slope, with another answer. Chance is the share of the commonest bin.
    structure.references(tokens): predictions Float[prompt, pos, vocab], "prior" (no examples) and "bayes" (all slopes
    that fit).
    """
    name = "linear_regression"
    for label, value in (("n_points", n_points), ("x_max", x_max), ("w_max", w_max)):
        _check.whole(name, label, value, low=1)
    _check.whole(name, "dim", dim, low=1)
    _check.whole(name, "number of slopes (2·w_max + 1)^dim", (2 * w_max + 1) ** dim, low=1, high=MAX_HYPOTHESES)
    _check.whole(name, "n_outputs", n_outputs, low=2, high=2 * dim * x_max * w_max + 1)
    skill = Regression(
        coordinates=torch.tensor([*range(-x_max, 0), *range(1, x_max + 1)]),
        slopes=torch.cartesian_prod(*[torch.arange(-w_max, w_max + 1)] * dim).reshape(-1, dim),
        n_points=n_points,
        n_outputs=n_outputs,
        top=dim * x_max * w_max,
    )
    every_x = torch.cartesian_prod(*[torch.arange(skill.n_x)] * dim).reshape(-1, 1, dim)
    counts = _outputs(skill, skill.slopes, every_x).flatten().bincount()
    return Task(
        name=name,
        params={"n_points": n_points, "dim": dim, "x_max": x_max, "w_max": w_max, "n_outputs": n_outputs},
        vocab=(*(f"x{int(x)}" for x in skill.coordinates), *(f"y{bin}" for bin in range(n_outputs))),
        n_ctx=(n_points + 1) * (dim + 1) - 1,
        chance=int(counts.max()) / int(counts.sum()),
        prompts=partial(_prompts, skill),
        **drawn(partial(_draw, skill), what=name),
        structure=Structure(references=partial(_references, skill)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regression:
    """coordinates: the numbers that x tokens stand for. slopes: all of them. top: the largest |w·x|."""

    coordinates: Int[Tensor, "x"]
    slopes: Int[Tensor, "slope dim"]
    n_points: int
    n_outputs: int
    top: int

    @property
    def n_x(self) -> int:
        return len(self.coordinates)

    @property
    def dim(self) -> int:
        return self.slopes.shape[1]


def _outputs(
    skill: Regression, slope: Int[Tensor, "*prompt dim"], x: Int[Tensor, "*prompt dim"]
) -> Int[Tensor, "*prompt"]:
    """The y tokens of slopes and x tokens: the bin that w·x falls into."""
    total = (slope * skill.coordinates[x]).sum(-1) + skill.top
    return skill.n_x + total * skill.n_outputs // (2 * skill.top + 1)


def _draw_x(skill: Regression, n: int, rng: Generator) -> Int[Tensor, "prompt point dim"]:
    return torch.randint(skill.n_x, (n, skill.n_points + 1, skill.dim), generator=rng)


def _draw_slope(skill: Regression, n: int, rng: Generator) -> Int[Tensor, "prompt 1 dim"]:
    return skill.slopes[torch.randint(len(skill.slopes), (n,), generator=rng)][:, None]


def _sequence(x: Int[Tensor, "prompt point dim"], y: Int[Tensor, "prompt point"]) -> Int[Tensor, "prompt pos"]:
    return torch.cat([x, y[:, :, None]], dim=2).flatten(1)[:, :-1]


def _draw(skill: Regression, n: int, *, rng: Generator, seed: int, split: str) -> Batch:
    x, slope = _draw_x(skill, n, rng), _draw_slope(skill, n, rng)
    y = _outputs(skill, slope, x)
    tokens = _sequence(x, y)
    targets = torch.full_like(tokens, -1)
    targets[:, skill.dim - 1 :: skill.dim + 1] = y
    return Batch(tokens=tokens.contiguous(), targets=targets)


def _predicted(skill: Regression, x: Int[Tensor, "prompt point dim"]) -> Int[Tensor, "prompt point slope"]:
    """The y of every slope."""
    return _outputs(skill, skill.slopes, x[:, :, None])


def _settled(
    skill: Regression, x: Int[Tensor, "prompt point dim"], y: Int[Tensor, "prompt point"]
) -> Bool[Tensor, "prompt"]:
    """Whether every slope that fits the examples gives the same last y."""
    matches = _predicted(skill, x) == y[:, :, None]
    fits = matches[:, :-1].all(1)
    return (matches[:, -1] | ~fits).all(1)


def _pairs(skill: Regression, m: int, rng: Generator) -> tuple[Tensor, ...]:
    x = _draw_x(skill, m, rng)
    y, other = (_outputs(skill, _draw_slope(skill, m, rng), x) for _ in range(2))
    fit = (y[:, -1] != other[:, -1]) & _settled(skill, x, y) & _settled(skill, x, other)
    return _sequence(x, y)[fit], _sequence(x, other)[fit], y[fit, -1], other[fit, -1]


def _prompts(skill: Regression, n: int, *, rng: Generator, seed: int = 0) -> Prompts:
    clean, corrupt, answer, wrong = fill(n, lambda m: _pairs(skill, m, rng), what="linear_regression")
    return Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=wrong)


def _references(skill: Regression, tokens: Int[Tensor, "prompt pos"]) -> dict[str, Float[Tensor, "prompt pos vocab"]]:
    """Where an x is predicted, both are uniform over the x tokens."""
    dim, n_x, size = skill.dim, skill.n_x, skill.n_x + skill.n_outputs
    points = torch.cat([tokens, torch.zeros_like(tokens[:, :1])], dim=1).unflatten(1, (-1, dim + 1))
    by_slope = _predicted(skill, points[..., :dim])
    missed = (by_slope != points[..., dim:]).cumsum(1)
    fits = torch.cat([torch.ones_like(missed[:, :1]), missed[:, :-1] == 0], dim=1).float()
    found = {}
    for label, weight in (("prior", torch.ones_like(fits)), ("bayes", fits)):
        y = torch.zeros(*by_slope.shape[:2], size).scatter_add(2, by_slope, weight / weight.sum(2, keepdim=True))
        guess = torch.zeros(*tokens.shape, size)
        guess[..., :n_x] = 1 / n_x
        guess[:, dim - 1 :: dim + 1] = y
        found[label] = guess
    return found


def solve(words: Sequence[str], params: Mapping[str, Any]) -> set[str]:
    """Brute force, for the tests: the words that may follow these."""
    dim, x_max, w_max = params["dim"], params["x_max"], params["w_max"]
    n_outputs, top = params["n_outputs"], dim * x_max * w_max
    points = [words[i : i + dim + 1] for i in range(0, len(words), dim + 1)]

    def output(w: tuple[int, ...], x: Sequence[str]) -> str:
        value = sum(a * int(word[1:]) for a, word in zip(w, x, strict=True))
        return f"y{int(Fraction(value + top, 2 * top + 1) * n_outputs)}"

    every = product(range(-w_max, w_max + 1), repeat=dim)
    fits = [w for w in every if all(output(w, point[:dim]) == point[dim] for point in points[:-1])]
    return {output(w, points[-1]) for w in fits}
