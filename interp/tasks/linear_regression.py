"""In-context linear regression, tokenised: pairs (x, w·x) for a slope w drawn anew for every sequence, then the
answer for a new x.

After Garg et al. 2022 (arXiv 2208.01066), over integers: x and w have integer coordinates and y = w·x is read out in
bins, so that token models can learn it, the right answer is exact, and the Bayes-optimal prediction is a sum over the
slopes that fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
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
    coordinates = torch.tensor([*range(-x_max, 0), *range(1, x_max + 1)])
    slopes = torch.cartesian_prod(*[torch.arange(-w_max, w_max + 1)] * dim).reshape(-1, dim)
    n_x, top = len(coordinates), dim * x_max * w_max

    def outputs(slope: Int[Tensor, "*prompt dim"], x: Int[Tensor, "*prompt dim"]) -> Int[Tensor, "*prompt"]:
        return n_x + ((slope * coordinates[x]).sum(-1) + top) * n_outputs // (2 * top + 1)

    def draw_x(n: int, rng: Generator) -> Int[Tensor, "prompt point dim"]:
        return torch.randint(n_x, (n, n_points + 1, dim), generator=rng)

    def draw_slope(n: int, rng: Generator) -> Int[Tensor, "prompt 1 dim"]:
        return slopes[torch.randint(len(slopes), (n,), generator=rng)][:, None]

    def sequence(x: Int[Tensor, "prompt point dim"], y: Int[Tensor, "prompt point"]) -> Int[Tensor, "prompt pos"]:
        return torch.cat([x, y[:, :, None]], dim=2).flatten(1)[:, :-1]

    def draw(n: int, *, rng: Generator, seed: int, split: str) -> Batch:
        x, slope = draw_x(n, rng), draw_slope(n, rng)
        y = outputs(slope, x)
        tokens = sequence(x, y)
        targets = torch.full_like(tokens, -1)
        targets[:, dim - 1 :: dim + 1] = y
        return Batch(tokens=tokens.contiguous(), targets=targets)

    def predicted(x: Int[Tensor, "prompt point dim"]) -> Int[Tensor, "prompt point slope"]:
        """The y of every slope."""
        return outputs(slopes, x[:, :, None])

    def settled(x: Int[Tensor, "prompt point dim"], y: Int[Tensor, "prompt point"]) -> Bool[Tensor, "prompt"]:
        matches = predicted(x) == y[:, :, None]
        fits = matches[:, :-1].all(1)
        return (matches[:, -1] | ~fits).all(1)

    def pairs(m: int, rng: Generator) -> tuple[Tensor, ...]:
        x = draw_x(m, rng)
        y, other = (outputs(draw_slope(m, rng), x) for _ in range(2))
        fit = (y[:, -1] != other[:, -1]) & settled(x, y) & settled(x, other)
        return sequence(x, y)[fit], sequence(x, other)[fit], y[fit, -1], other[fit, -1]

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        clean, corrupt, answer, wrong = fill(n, lambda m: pairs(m, rng), what=name)
        return Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=wrong)

    def references(tokens: Int[Tensor, "prompt pos"]) -> dict[str, Float[Tensor, "prompt pos vocab"]]:
        """Where an x is predicted, both are uniform over the x tokens."""
        size = n_x + n_outputs
        points = torch.cat([tokens, torch.zeros_like(tokens[:, :1])], dim=1).unflatten(1, (-1, dim + 1))
        by_slope = predicted(points[..., :dim])
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

    every_x = torch.cartesian_prod(*[torch.arange(n_x)] * dim).reshape(-1, 1, dim)
    counts = outputs(slopes, every_x).flatten().bincount()
    return Task(
        name=name,
        params={"n_points": n_points, "dim": dim, "x_max": x_max, "w_max": w_max, "n_outputs": n_outputs},
        vocab=(*(f"x{int(x)}" for x in coordinates), *(f"y{bin}" for bin in range(n_outputs))),
        n_ctx=(n_points + 1) * (dim + 1) - 1,
        chance=int(counts.max()) / int(counts.sum()),
        prompts=prompts,
        **drawn(draw, what=name),
        structure=Structure(references=references),
    )


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
