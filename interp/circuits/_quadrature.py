"""Rules for the mean of a function over [0, 1] from a few points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from interp.errors import InputError, unknown

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

RULES = ("left", "right", "midpoint", "trapezoid", "gauss", "spread")
GOLDEN = 0.6180339887498949


def points(rule: str, steps: int, n_prompts: int = 1) -> list[tuple[float | Float[Tensor, "prompt"], float]]:
    """(point, weight) of `steps` points whose weights sum to 1; 0 is the corrupt run and 1 the clean one.

    left: 0, 1/m, …, 1 − 1/m (the sum that the EAP-IG repository describes). right: 1/m, …, 1. midpoint: 1/2m, 3/2m,
        …. trapezoid:
    both ends and between. gauss: Gauss-Legendre, exact for polynomials of degree 2m − 1. spread: one point in each of
        m equal parts, as
    the midpoint rule, but at another place for each prompt (0.5, then by steps of the golden ratio), so that all
    prompts together see the whole path and no narrow transition is missed by all; of one prompt it is the midpoint
    rule.
    """
    if steps < 1 or (rule == "trapezoid" and steps < 2):
        raise InputError(f"the {rule} rule needs at least {2 if rule == 'trapezoid' else 1} steps, got {steps}")
    even = np.full(steps, 1 / steps)
    match rule:
        case "left":
            at = np.arange(steps) / steps
        case "right":
            at = np.arange(1, steps + 1) / steps
        case "midpoint":
            at = (np.arange(steps) + 0.5) / steps
        case "spread":
            place = (0.5 + GOLDEN * torch.arange(n_prompts)) % 1.0
            return [((i + place) / steps, 1 / steps) for i in range(steps)]
        case "trapezoid":
            at, even = np.linspace(0, 1, steps), np.full(steps, 1 / (steps - 1))
            even[[0, -1]] /= 2
        case "gauss":
            at, weights = np.polynomial.legendre.leggauss(steps)
            at, even = (at + 1) / 2, weights / 2
        case _:
            raise unknown("quadrature rule", rule, RULES)
    return list(zip(at.tolist(), even.tolist(), strict=True))


def along(
    start: Float[Tensor, "prompt *rest"],
    end: Float[Tensor, "prompt *rest"],
    at: float | Float[Tensor, "prompt"],
    rows: slice,
) -> Float[Tensor, "prompt *rest"]:
    """The point `at` on the straight way of each of the prompts `rows`."""
    share = torch.as_tensor(at, dtype=end.dtype, device=end.device)
    share = share[rows] if share.dim() else share
    return start.lerp(end, share.view(-1, *[1] * (end.dim() - 1)))
