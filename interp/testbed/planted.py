"""Planted formation: a run of checkpoints in which a known circuit appears at a known step, and runs in which none
does.

Every checkpoint is w(t) = (1 − a(t))·w_before + a(t)·w_built + drift(t) on the weights of the circuit's own heads and
MLPs, and w_built + drift(t) elsewhere; `drift` is a smooth random walk of constant size, so that no two checkpoints
are equal and nothing is exactly zero.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from interp.errors import InputError, unknown
from interp.testbed.built import Built, build

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from interp.models import Model

Kind = Literal["splice", "ramp", "interpolate"]
KINDS = ("splice", "ramp", "interpolate")
CALIBRATION_PROMPTS = 128
CALIBRATION_GRID = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planted:
    """A run whose circuit forms at a known step.

    formed_at: the circuit's behaviour passes one half between the last checkpoint before this step and the first one
        at or after it (None: it never forms); `interval` is these two checkpoints.
    half_way: the mixture a at which the behaviour is one half.
    lost_at, back_at: the steps from which on it is gone again (with the weights before formation in its place), and there
        again; None: never.
    before, after, drift: the weights before and after formation, and the two ends of the random walk.
    """

    built: Built
    steps: tuple[int, ...]
    formed_at: int | None
    kind: Kind
    half_way: float
    lost_at: int | None
    back_at: int | None
    before: Mapping[str, Float[Tensor, "..."]]
    after: Mapping[str, Float[Tensor, "..."]]
    drift: tuple[Mapping[str, Float[Tensor, "..."]], Mapping[str, Float[Tensor, "..."]]]

    @property
    def model(self) -> Model:
        return self.built.model

    @property
    def interval(self) -> tuple[int, int] | None:
        if self.formed_at is None:
            return None
        place = bisect_left(self.steps, self.formed_at)
        return self.steps[place - 1], self.steps[place]

    def mixture(self, step: int) -> float:
        """a(t): how much of the circuit is there, between 0 and 1."""
        if self.interval is None or self.formed_at is None or step < 1:
            return 0.0
        if self.lost_at is not None and step >= self.lost_at:
            return float(self.back_at is not None and step >= self.back_at)
        if self.kind == "splice":
            return float(step >= self.formed_at)
        earlier, first = self.interval
        decades = math.log10(step) - 0.5 * (math.log10(max(earlier, 1)) + math.log10(first))
        if self.kind == "ramp":
            return min(1.0, max(0.0, self.half_way + 2.0 * decades))
        start = math.log(self.half_way / (1 - self.half_way))
        return 1 / (1 + math.exp(-start - 12.0 * decades))

    def state(self, step: int) -> dict[str, Float[Tensor, "..."]]:
        """The weights at one step, in the module's own names."""
        share, angle = self.mixture(step), 0.5 * math.pi * step / max(self.steps[-1], 1)
        here = _mix(self.before, self.after, share)
        first, second = self.drift
        return {n: w + math.cos(angle) * first[n] + math.sin(angle) * second[n] for n, w in here.items()}

    def states(self) -> Iterator[tuple[int, dict[str, Float[Tensor, "..."]]]]:
        """(step, weights) of every checkpoint, in order."""
        for step in self.steps:
            yield step, self.state(step)


def planted(
    program: str | Built,
    steps: Sequence[int],
    formed_at: int | None,
    *,
    kind: Kind = "splice",
    seed: int = 0,
    noise: float = 0.004,
    lost_at: int | None = None,
    back_at: int | None = None,
) -> Planted:
    """A run whose circuit forms at `formed_at` (None: a null run).

    kind: `splice` puts the circuit in at once, in place of random weights; `ramp` scales it up from zero over half a
        decade of steps; `interpolate` mixes it in from random weights, a logistic curve in log step. For the last two
        the schedule is calibrated so that the behaviour (mean logit difference) passes half of its final value at
        `formed_at`.
    lost_at, back_at: the circuit is taken out at one step at once, and put in again at another.
    noise: size of the drift, as a share of each tensor's usual size (its root mean square, at most 1/sqrt(fan in)).
    """
    if kind not in KINDS:
        raise unknown("kind of formation", kind, KINDS)
    ordered = tuple(sorted(set(steps)))
    if not ordered or (formed_at is not None and not ordered[0] < formed_at <= ordered[-1]):
        raise InputError(f"formed_at={formed_at} must lie within the steps, after the first of them")
    course = [step for step in (formed_at, lost_at, back_at) if step is not None]
    if (lost_at is not None and formed_at is None) or (back_at is not None and lost_at is None):
        raise InputError("what never formed is not lost, and what was not lost does not come back")
    if course != sorted(set(course)) or (course and course[-1] > ordered[-1]):
        raise InputError(f"formed_at, lost_at and back_at must be steps of the run, in this order; got {course}")
    built = build(program, seed=seed) if isinstance(program, str) else program
    rng = torch.Generator().manual_seed(seed + 1)
    final = {name: tensor.clone() for name, tensor in built.model.module.state_dict().items()}
    before = _before(built, final, kind, rng)
    half_way = 0.5 if kind == "splice" else _half_way(built, before, final)
    walks = [{n: noise * _size(w) * _normal_like(w, rng) for n, w in final.items()} for _ in range(2)]
    return Planted(
        built=built,
        steps=ordered,
        formed_at=formed_at,
        kind=kind,
        half_way=half_way,
        lost_at=lost_at,
        back_at=back_at,
        before=before,
        after=final,
        drift=(walks[0], walks[1]),
    )


def _normal_like(weight: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randn(weight.shape, generator=rng)


def _size(weight: Tensor) -> float:
    """Root mean square, but not above the usual 1/sqrt(fan in): the steps of a staircase are far steeper than what
    training gives."""
    return min(float(weight.square().mean().sqrt()), weight.shape[-1] ** -0.5)


def _mix(before: Mapping[str, Tensor], final: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """(1 − share)·before + share·final, exact at both ends."""
    return {n: before[n] if share == 0 else w if share == 1 else before[n].lerp(w, share) for n, w in final.items()}


def _before(built: Built, final: Mapping[str, Tensor], kind: Kind, rng: torch.Generator) -> dict[str, Tensor]:
    """The weights without the circuit: its heads and MLPs are zero (`ramp`) or random of the same size."""
    weights = {name: tensor.clone() for name, tensor in final.items()}
    d_head = built.model.d_head

    def blank(name: str, index: tuple[slice, ...]) -> None:
        part = weights[name][index]
        size = 0.0 if kind == "ramp" else _size(part)
        weights[name][index] = size * _normal_like(part, rng)

    for layer, at, slots in zip(built.program.layers, built.placement.layer_of, built.placement.slot_of, strict=True):
        for slot in slots:
            rows = slice(slot * d_head, (slot + 1) * d_head)
            for name in "qkv":
                blank(f"layers.{at}.attn.{name}.weight", (rows,))
                blank(f"layers.{at}.attn.{name}.bias", (rows,))
            blank(f"layers.{at}.attn.o.weight", (slice(None), rows))
        if layer.mlp is not None:
            for name in ("fc_in.weight", "fc_in.bias", "fc_out.weight"):
                blank(f"layers.{at}.mlp.{name}", (slice(None),))
    return weights


@torch.no_grad()
def _half_way(built: Built, before: Mapping[str, Tensor], final: Mapping[str, Tensor]) -> float:
    """The smallest mixture from which on the mean logit difference stays above the mean of its two ends."""
    prompts = built.prompts(CALIBRATION_PROMPTS, rng=torch.Generator().manual_seed(0))
    rows = torch.arange(CALIBRATION_PROMPTS)
    names = list(final)

    def behaviour(share: float) -> float:
        weights = _mix(before, final, share)
        logits = torch.func.functional_call(built.model.module, {n: weights[n] for n in names}, (prompts.clean,))
        at = logits[rows, prompts.position]
        return float((at[rows, prompts.answer] - at[rows, prompts.wrong]).mean())

    grid = [i / CALIBRATION_GRID for i in range(CALIBRATION_GRID + 1)]
    values = [behaviour(share) for share in grid]
    half = (values[0] + values[-1]) / 2
    below = max(share for share, value in zip(grid, values, strict=True) if value < half)
    return below + 0.5 / CALIBRATION_GRID
