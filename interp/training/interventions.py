"""Interventions while a run trains: what acts at a step, on the forward pass, on the loss and on the weights.

Interventions on weights act around the optimiser's step: a function of `AROUND` is called before it and gives what is to be done
after. None keeps anything but what `memory` holds, which is stored with the optimiser's state, so that a run that goes on in
the middle of an intervention ends in the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.families.intervening import acting
from interp.seeds import generator
from interp.training.edits import Edits, layer_edits, place_of

if TYPE_CHECKING:
    from interp.families.planned import PlannedRun
    from interp.models.native import NativeModel

Memory = dict[str, Tensor]
"""What a resume state keeps of interventions, by names that start with `PREFIX`."""
PREFIX = "intervention/"
One = Mapping[str, Any]


class Interventions:
    """Those of a run, as they stand at a step. `edits` of the forward pass, `scale` of the logits in the loss."""

    def __init__(self, run: PlannedRun, module: NativeModel, state: Mapping[str, Tensor]) -> None:
        self.run, self.module = run, module
        self.memory: Memory = {name: value for name, value in state.items() if name.startswith(PREFIX)}
        self.acting: list[tuple[int, One]] = []
        self.edits: Edits = {}
        self.scale = 1.0

    def move(self, step: int) -> None:
        """To the optimiser step from `step` to `step` + 1."""
        now = acting(self.run.interventions, step)
        if now != self.acting:
            self.acting = now
            self.edits = layer_edits([one for _, one in now], self.run.model)
            self.scale = math.prod(one["dose"] for _, one in now if one["kind"] == "logit_scale")

    def before_update(self, step: int) -> list[Callable[[], None]]:
        """To be called before the optimiser's step; what comes back, after it, in this order."""
        return [
            AROUND[one["kind"]](self.module, one, step, self.memory, f"{PREFIX}{index}")
            for index, one in self.acting
            if one["kind"] in AROUND
        ]


def freeze(module: NativeModel, one: One, step: int, memory: Memory, name: str) -> Callable[[], None]:
    """A share `dose` of each update of the components is taken back; the optimiser's moments go on."""
    before = [part.clone() for part in weights_of(module, one["on"])]

    def after() -> None:
        for part, was in zip(weights_of(module, one["on"]), before, strict=True):
            part.lerp_(was, one["dose"])

    return after


def weight_norm(module: NativeModel, one: One, step: int, memory: Memory, name: str) -> Callable[[], None]:
    """The norm √Σw² of the components is set to `dose` times what it was at `from`, by one factor for all of them.

    The placebo moves them as far in a random direction: by as much as this step (the first: the dose too) changed their norm.
    """
    before = norm(weights_of(module, one["on"]))
    if step == one["from"]:
        memory[f"{name}/norm"] = before
    held = one["dose"] * memory[f"{name}/norm"]

    def hold() -> None:
        parts = weights_of(module, one["on"])
        factor = (held / norm(parts)).item()
        for part in parts:
            part.mul_(factor)

    def kick() -> None:
        parts = weights_of(module, one["on"])
        distance = (norm(parts) - (held if step == one["from"] else before)).abs()
        rng = generator(one["stream"], step)
        direction = [torch.randn(part.shape, generator=rng) for part in parts]
        factor = (distance / norm(direction)).item()
        for part, towards in zip(parts, direction, strict=True):
            part.add_(towards.to(part), alpha=factor)

    return kick if "placebo" in one else hold


def fourier(module: NativeModel, one: One, step: int, memory: Memory, name: str) -> Callable[[], None]:
    """After each step a share `dose` of what the embeddings of the numbers have outside of the frequencies is removed
    (dose below 0: of what they have on them); their mean and the norm about it stay as the step left them."""
    basis = directions(one)

    def after() -> None:
        rows = module.tok_embed.weight.detach()[: one["modulus"]]
        mean = rows.mean(0, keepdim=True)
        about = rows - mean
        on = basis.to(rows).mT @ (basis.to(rows) @ about)
        wanted = on + (1 - one["dose"]) * (about - on) if one["dose"] > 0 else about + one["dose"] * on
        if (size := wanted.norm()) > 0:
            rows.copy_(mean + wanted * (about.norm() / size))

    return after


AROUND: Mapping[str, Callable[[NativeModel, One, int, Memory, str], Callable[[], None]]] = {
    "freeze": freeze,
    "weight_norm": weight_norm,
    "fourier": fourier,
}


def directions(one: One) -> Float[Tensor, "direction p"]:
    """Orthonormal directions of functions on Z_p, none of them constant: cosine and sine of each frequency (for p / 2 the
    cosine), or of a placebo as many random ones."""
    p = one["modulus"]
    if "directions" in one:
        draw = torch.randn(p, one["directions"], generator=generator(one["stream"]), dtype=torch.float64)
        return torch.linalg.qr(draw - draw.mean(0)).Q.mT.float()
    angles = 2 * math.pi * torch.tensor(one["frequencies"], dtype=torch.float64)[:, None] * torch.arange(p) / p
    both = torch.stack([angles.cos(), angles.sin()], dim=1).flatten(0, 1)
    lengths = both.norm(dim=1, keepdim=True)
    return (both / lengths)[lengths[:, 0] > 1e-6].float()  # the sine of p / 2 is zero


def norm(parts: list[Tensor]) -> Float[Tensor, ""]:
    """√Σw² over tensors, in float64."""
    return torch.stack([part.norm() for part in parts]).double().norm()


def weights_of(module: NativeModel, names: list[str]) -> list[Tensor]:
    """Views of the parameters of components. A head has its rows of q, k and v (those of its group, where keys are shared) and
    its columns of o; biases of o are the layer's."""
    out: list[Tensor] = []
    for name in names:
        if name == "all":
            found: list[Tensor] = list(module.parameters())
        elif name in ("embed", "unembed"):
            found = [(module.tok_embed if name == "embed" else module.head).weight]
        else:
            layer, head, part = place_of(name)
            block = module.layers[layer]
            found = list(getattr(block, part).parameters()) if part else _head(block.attn, head)
        out += [parameter.detach() for parameter in found]
    return out


def _head(attn: Any, head: int) -> list[Tensor]:
    own = slice(head * attn.d_head, (head + 1) * attn.d_head)
    group = head // attn.kv_repeats
    shared = slice(group * attn.d_head, (group + 1) * attn.d_head)
    rows = [(attn.q, own), (attn.k, shared), (attn.v, shared)]
    views = [tensor.detach()[at] for project, at in rows for tensor in (project.weight, project.bias)]
    return [*views, attn.o.weight.detach()[:, own]]
