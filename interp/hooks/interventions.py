"""Interventions: set, add to, scale, zero, average, resample, blur or project activations while the model runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from interp.errors import InputError, unknown
from interp.models.running import run
from interp.models.site_tensors import (
    Change,
    Spot,
    check_indices,
    n_heads_at,
    n_keys_at,
    n_layers_at,
    read_at,
    resolve_positions,
)
from interp.models.sites import GLOBAL_SITES, SCORE_SITES, check_site

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from interp.models import Model

Kind = Literal["set", "add", "scale", "zero", "mean", "resample", "noise", "subspace"]
KINDS = ("set", "add", "scale", "zero", "mean", "resample", "noise", "subspace")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Intervention:
    """One change of the activations x at a site.

    site, layer, heads, positions: where; None means all. Several interventions compose in the order given. Positions as in
        `capture`; of a pattern or scores they are the queries. Global sites (`embed`, `ln_final`) have no layer.
    keys: of a pattern or scores, the positions attended to; None means all.
    prompts: indices of the prompts concerned; None means all.
    kind: `set` x = value; `add` x += value; `scale` x *= value; `zero` x = 0; `mean` x = value, or the mean of x over the
        prompts concerned (position by position) without one; `resample` x = another prompt's x, a permutation drawn from
        `rng`; `noise` x += value·N(0, 1) from `rng`; `subspace` replaces x's component in the span of `basis` by that of
        value (of 0 without one).
    value: broadcast against [prompt, position, (head,) …] of what is selected (patterns: [prompt, head, query, key]).
    basis: the vectors that span the subspace, in any scale; they must be linearly independent.
    """

    site: str
    kind: Kind = "set"
    layer: int | None = None
    heads: int | Sequence[int] | None = None
    positions: int | Sequence[int] | Int[Tensor, "prompt"] | Int[Tensor, "prompt chosen"] | None = None
    keys: int | Sequence[int] | None = None
    prompts: Sequence[int] | None = None
    value: Tensor | float | None = None
    basis: Float[Tensor, "vector d"] | None = None
    rng: torch.Generator | None = None


def intervene(
    model: Model,
    tokens: Int[Tensor, "prompt pos"],
    interventions: Sequence[Intervention],
    *,
    mask: Bool[Tensor, "prompt pos"] | None = None,
    positions: int | Sequence[int] | Int[Tensor, "prompt"] | Int[Tensor, "prompt chosen"] | None = None,
    decoder: Int[Tensor, "prompt pos"] | None = None,
) -> Float[Tensor, "prompt pos vocab"]:
    """The logits of a run under the interventions, at `positions` (None: all). No gradients; the model is left as found.

    decoder: of an encoder-decoder the tokens that its decoder reads, as in `capture`.
    """
    model = model.reading(decoder)
    changes = changes_of(model, interventions, tokens, mask)
    at = resolve_positions(positions, *read_at(model, "logits", tokens, mask))
    with torch.no_grad():
        logits = run(model, tokens, mask, changes=changes, logits_at=at)
    assert logits is not None
    return logits


def changes_of(
    model: Model,
    interventions: Sequence[Intervention],
    tokens: Int[Tensor, "prompt pos"],
    mask: Bool[Tensor, "prompt pos"] | None,
) -> dict[Spot, list[Change]]:
    """The interventions as changes by site and layer, checked.

    Raises:
        InputError: a site, layer, head, position or kind that does not exist, or a value that is missing.
    """
    changes: dict[Spot, list[Change]] = {}
    for one in interventions:
        check_site(one.site, model.sites)
        if one.kind not in KINDS:
            raise unknown("kind of intervention", one.kind, KINDS)
        if one.value is None and one.kind in ("set", "add", "scale", "noise"):
            raise InputError(f"an intervention that should {one.kind} needs a value")
        if one.keys is not None and one.site not in SCORE_SITES:
            raise InputError(f"{one.site} has no keys")
        if one.basis is None and one.kind == "subspace":
            raise InputError("an intervention on a subspace needs a basis")
        layers = [0] if one.site in GLOBAL_SITES else check_indices("layer", one.layer, n_layers_at(model, one.site))
        change = _change(model, one, tokens, mask)
        for layer in layers:
            changes.setdefault((one.site, layer), []).append(change)
    return changes


def _change(model: Model, one: Intervention, tokens: Tensor, mask: Tensor | None) -> Change:
    """Reads the selected part of a site's tensor, computes the new one and writes it back."""
    index = _index(model, one, tokens, mask)
    value = one.value.to(model.device) if isinstance(one.value, torch.Tensor) else one.value
    basis = None if one.basis is None else torch.linalg.qr(one.basis.to(model.device).float().mT).Q

    def change(x: Tensor) -> None:
        part = x[index]
        x[index] = _changed(part, one.kind, value, basis, one.rng).to(x.dtype).expand_as(part)

    return change


def _index(model: Model, one: Intervention, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
    """Index tensors, shaped to broadcast: [prompt, position] or [prompt, position, head] (scores: [prompt, head, query])."""
    device = model.device
    prompts = torch.tensor(check_indices("prompt", one.prompts, tokens.shape[0]), device=device)
    read, real = read_at(model, one.site, tokens, mask)
    at = resolve_positions(one.positions, read, real)
    chosen = torch.arange(read.shape[1], device=device).expand(len(tokens), -1) if at is None else at.to(device)
    n_heads = n_heads_at(model, one.site)
    if n_heads is None:
        if one.heads is not None:
            raise InputError(f"{one.site} has no heads")
        return prompts[:, None], chosen[prompts]
    heads = torch.tensor(check_indices("head", one.heads, n_heads), device=device)
    if one.site in SCORE_SITES:
        index = prompts[:, None, None], heads[None, :, None], chosen[prompts][:, None, :]
        if one.keys is None:
            return index
        keys = torch.tensor(check_indices("key", one.keys, n_keys_at(model, one.site, tokens)), device=device)
        return *(part[..., None] for part in index), keys
    return prompts[:, None, None], chosen[prompts][:, :, None], heads[None, None, :]


def _changed(x: Tensor, kind: str, value: Any, basis: Tensor | None, rng: torch.Generator | None) -> Tensor:
    match kind:
        case "set":
            return torch.as_tensor(value, device=x.device)
        case "add":
            return x + value
        case "scale":
            return x * value
        case "zero":
            return torch.zeros_like(x)
        case "mean":
            return x.mean(0, keepdim=True) if value is None else torch.as_tensor(value, device=x.device)
        case "resample":
            return x[torch.randperm(len(x), generator=rng).to(x.device)]
        case "noise":
            return x + value * torch.randn(x.shape, generator=rng).to(x.device, x.dtype)
        case _:
            assert basis is not None
            difference = (0.0 if value is None else value) - x
            return x + ((difference.to(basis.dtype) @ basis) @ basis.mT).to(x.dtype)
