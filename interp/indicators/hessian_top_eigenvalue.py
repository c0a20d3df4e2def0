"""Largest eigenvalue of the Hessian of the training loss, by Lanczos' method with full reorthogonalisation (Ghorbani
et al. 2019, arXiv 1901.10159), on a sample of the training split. The sharpness that the edge of stability is about."""

from __future__ import annotations

import torch

from interp.indicators._loss import Point, hessian_product, mean_loss, parameters, random_like, training_sample
from interp.measure.observe import Observation

NEEDS: dict[str, str] = {}
DIMS, UNIT, ONLINE, COST = (), "nats per squared weight", True, "many"


def hessian_top_eigenvalue(obs: Observation, *, iterations: int = 20, tokens: int = 4096) -> float:
    """A lower bound that is tight once `iterations` suffice; exact where they equal the number of parameters."""
    sample, point = training_sample(obs, tokens), parameters(obs.model)
    start = random_like(point, obs.rng)
    with hessian_product(mean_loss(obs.model, sample), point) as product:
        diagonal, beside = lanczos(product, start, iterations=iterations)
    obs.spend(sample.tokens.numel(), backward=1)
    obs.spend(sample.tokens.numel(), forward=0, backward=2 * len(diagonal))
    tridiagonal = torch.diag(diagonal) + torch.diag(beside, 1) + torch.diag(beside, -1)
    return float(torch.linalg.eigvalsh(tridiagonal)[-1])


def lanczos(product, start: Point, *, iterations: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Diagonal and side diagonal of the symmetric map `product` in the Krylov space of `start`; fewer than
    `iterations` where that ends."""
    names = list(start)

    def flat(point: Point) -> torch.Tensor:
        return torch.cat([point[name].flatten().double() for name in names])

    def shaped(vector: torch.Tensor) -> Point:
        parts = vector.split([start[name].numel() for name in names])
        return {name: part.view_as(start[name]).to(start[name]) for name, part in zip(names, parts, strict=True)}

    q = flat(start)
    found, diagonal, beside = [q / q.norm()], [], []
    for _ in range(min(iterations, len(q))):
        w = flat(product(shaped(found[-1])))
        scale = float(w.norm())
        diagonal.append(float(w @ found[-1]))
        for _ in range(2):  # twice is enough against rounding
            for old in found:
                w = w - (w @ old) * old
        if float(w.norm()) <= 1e-9 * max(scale, 1e-30):
            break
        beside.append(float(w.norm()))
        found.append(w / w.norm())
    return torch.tensor(diagonal, dtype=torch.float64), torch.tensor(beside[: len(diagonal) - 1], dtype=torch.float64)
