"""The training loss as a function of the parameters, without touching the model's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from interp.errors import InputError
from interp.types import Batch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Generator, Tensor

    from interp.measure.observe import Observation
    from interp.models import Model

Point = dict[str, "Tensor"]
"""Parameters by name."""
Loss = Callable[[Point], "Tensor"]


def parameters(model: Model) -> Point:
    """A copy of the parameters, tied ones once."""
    return {name: parameter.detach().clone() for name, parameter in model.module.named_parameters()}


def sequence_losses(model: Model, point: Point, batch: Batch) -> Float[Tensor, "prompt"]:
    """Cross-entropy in nats, summed over the scored positions of each sequence, of the model with the parameters
    `point`."""
    if model.is_encoder_decoder:
        raise InputError(
            f"the loss of sequences is of one stack; {model.config['architecture']} has an encoder and a decoder"
        )
    targets = batch.targets.to(model.device)
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        output = functional_call(model.module, point, (), kwargs=model.inputs(batch.tokens))
    logits = output if isinstance(output, torch.Tensor) else output.logits
    scored = targets >= 0
    losses = torch.nn.functional.cross_entropy(logits[scored].double(), targets[scored], reduction="none")
    return torch.zeros(len(targets), dtype=losses.dtype, device=losses.device).index_add(
        0, scored.nonzero()[:, 0], losses
    )


def mean_loss(model: Model, batch: Batch) -> Loss:
    """The mean loss over the scored positions of a batch, in nats, as a function of the parameters."""
    n_scored = int((batch.targets >= 0).sum())
    return lambda point: sequence_losses(model, point, batch).sum() / n_scored


def gradient(loss: Loss, point: Point) -> tuple[Tensor, Point]:
    """The loss at a point and its gradient there."""
    with torch.enable_grad():
        leaves = {name: value.detach().requires_grad_() for name, value in point.items()}
        value = loss(leaves)
        grads = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    return value.detach(), {
        name: torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(leaves.items(), grads, strict=True)
    }


@contextmanager
def hessian_product(loss: Loss, point: Point) -> Iterator[Callable[[Point], Point]]:
    """v ↦ H v with the Hessian H of the loss at a point: the gradient of ⟨∇L, v⟩. The graph of ∇L is built once."""
    with torch.enable_grad():
        leaves = {name: value.detach().requires_grad_() for name, value in point.items()}
        used = list(leaves.values())
        grads = torch.autograd.grad(loss(leaves), used, create_graph=True, allow_unused=True)
        live = [
            (name, grad) for name, grad in zip(leaves, grads, strict=True) if grad is not None and grad.requires_grad
        ]

        def product(v: Point) -> Point:
            slope = torch.stack([(grad * v[name]).sum() for name, grad in live]).sum()
            seconds = torch.autograd.grad(slope, used, retain_graph=True, allow_unused=True)
            return {
                name: torch.zeros_like(leaf) if second is None else second.detach()
                for (name, leaf), second in zip(leaves.items(), seconds, strict=True)
            }

        yield product


def dot(a: Point, b: Point) -> float:
    """⟨a, b⟩ over all parameters, in float64."""
    return sum(float((a[name].double() * b[name].double()).sum()) for name in a)


def training_sample(obs: Observation, n_tokens: int) -> Batch:
    """Training sequences that are scored somewhere: all if they have at most `n_tokens` tokens together, else as
    many as that allows, at least one, drawn with `obs.rng`."""
    batch = obs.splits["train"]
    n = max(1, n_tokens // batch.tokens.shape[1])
    usable = (batch.targets >= 0).any(dim=1).nonzero()[:, 0]
    if len(usable) > n:
        usable = usable[torch.randperm(len(usable), generator=obs.rng)[:n].sort().values]
    return rows(batch, usable)


def rows(batch: Batch, index: Tensor) -> Batch:
    """Some sequences of a batch."""
    return Batch(tokens=batch.tokens[index], targets=batch.targets[index])


def random_like(point: Point, rng: Generator, *, signs: bool = False) -> Point:
    """Standard normal numbers (or random signs) in the shape of a point; drawn on the CPU, the same on every device."""

    def draw(value: Tensor) -> Tensor:
        if signs:
            return torch.randint(2, value.shape, generator=rng).to(value) * 2 - 1
        return torch.randn(value.shape, generator=rng).to(value)

    return {name: draw(value) for name, value in point.items()}


def default_beta(n: int) -> float:
    """nβ = n / ln n for a batch of n, the inverse temperature at which the widely applicable BIC works (Watanabe
    2013)."""
    return n / math.log(n) if n > 1 else 1.0
