"""What interventions change of a forward pass, layer by layer, so that the fast step and the module itself apply the same.

Whatever is done to a head's pattern is one affine map of a softmax with a bias on its scores:

    pattern′ = kept · softmax(scores + bias) + added

`forbid` is the bias log(1 − dose) at a place (scaled by 1 − dose and renormalised, with no division); mixing with a role is
kept (1 − dose), added dose · role; a head's output times s is both times s. Those on the same head compose in the order given, the
biases before the rest. As z is linear in the pattern, z′ = kept · z + added · v: the fast step needs no pattern.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

if TYPE_CHECKING:
    from interp.hooks.interventions import Intervention


@dataclass(slots=True, kw_only=True, eq=False)
class LayerEdit:
    """Of one layer; None and 1 where nothing is changed. attn, mlp: factors of the outputs."""

    bias: Float[Tensor, "head query key"] | None = None
    kept: Float[Tensor, "head query"] | None = None
    added: Float[Tensor, "head query key"] | None = None
    attn: float = 1.0
    mlp: float = 1.0


Edits = Mapping[int, LayerEdit]


def layer_edits(acting: Sequence[Mapping[str, Any]], model: Mapping[str, Any]) -> Edits:
    """The edits of the layers that the interventions touch. model: its config.json, with `n_ctx` and `n_heads`."""
    n_ctx, n_heads = int(model["n_ctx"]), int(model["n_heads"])
    causal = (
        torch.ones(n_ctx, n_ctx).tril()
        if model.get("attention_dir", "causal") == "causal"
        else torch.ones(n_ctx, n_ctx)
    )
    out: dict[int, LayerEdit] = {}
    for one in acting:
        if one["kind"] not in ("ablate", "boost", "pattern", "forbid"):
            continue
        for name in one["on"]:
            layer, head, part = place_of(name)
            edit = out.setdefault(layer, LayerEdit())
            if one["kind"] == "forbid":
                edit.bias = torch.zeros(n_heads, n_ctx, n_ctx) if edit.bias is None else edit.bias
                edit.bias[head] += (
                    math.log1p(-one["dose"]) * _role(one, causal)
                    if one["dose"] < 1
                    else (torch.zeros(n_ctx, n_ctx).masked_fill(_role(one, causal) > 0, -torch.inf))
                )
                continue
            factor = 1 - one["dose"] if one["kind"] in ("ablate", "pattern") else 1 + one["dose"]
            if part:
                setattr(edit, part, getattr(edit, part) * factor)
                continue
            if edit.kept is None or edit.added is None:
                edit.kept, edit.added = torch.ones(n_heads, n_ctx), torch.zeros(n_heads, n_ctx, n_ctx)
            role = _role(one, causal) if one["kind"] == "pattern" else None
            there = torch.ones(n_ctx, dtype=torch.bool) if role is None else role.any(1)
            edit.kept[head, there] *= factor
            edit.added[head, there] *= factor
            if role is not None:
                edit.added[head] += one["dose"] * role
    for edit in out.values():
        if edit.bias is not None:  # a query that would be left with no key at all keeps its own pattern
            nothing = torch.isneginf(edit.bias.masked_fill(causal == 0, -torch.inf)).all(-1, keepdim=True)
            edit.bias = edit.bias.masked_fill(nothing, 0.0)
    return out


def place_of(name: str) -> tuple[int, int, str]:
    """Layer, head (−1 for none) and part ("" for a head) of a component's name."""
    found = re.fullmatch(r"L(\d+)(?:H(\d+)|\.(\w+))", name)
    assert found is not None, name  # checked when the run was planned
    layer, head, part = found.groups()
    return int(layer), -1 if head is None else int(head), part or ""


def _role(one: Mapping[str, Any], causal: Float[Tensor, "query key"]) -> Float[Tensor, "query key"]:
    """The pattern of a role; a query that has no such token (the first has none before it) has a row of zeros."""
    match one.get("role"):
        case "first_token":
            role = torch.zeros_like(causal)
            role[:, 0] = 1
            return role
        case "uniform":
            return causal / causal.sum(1, keepdim=True)
        case _:
            n_ctx, offset = len(causal), one["offset"]
            return torch.diag(torch.ones(n_ctx - offset), -offset)


def mixed(
    edit: LayerEdit, z: Float[Tensor, "b r h e"], v: Float[Tensor, "b p h e"], at: Tensor | None
) -> Float[Tensor, "b r h e"]:
    """z′ = kept · z + added · v. at: the positions [b, r] that z is of; None: all."""
    if edit.kept is None or edit.added is None:
        return z
    n_keys = v.shape[1]
    kept_hr, added_hrp = edit.kept[:, :n_keys].to(z), edit.added[:, :n_keys, :n_keys].to(z)
    heads = added_hrp.flatten(1).any(1).nonzero()[:, 0]
    if at is None:
        z = kept_hr.mT[..., None] * z
        more = torch.einsum("hrp,bphe->brhe", added_hrp[heads], v[:, :, heads])
    else:
        z = kept_hr.mT[at][..., None] * z
        more = torch.einsum("hbrp,bphe->brhe", added_hrp[heads][:, at], v[:, :, heads])
    return z.index_add(2, heads, more) if len(heads) else z


def bias_at(edit: LayerEdit, n_keys: int, at: Tensor | None, like: Tensor) -> Float[Tensor, "#b h r p"] | None:
    """The bias of the scores of the queries that are read."""
    if edit.bias is None:
        return None
    bias_hqk = edit.bias[:, :n_keys, :n_keys].to(like)
    return bias_hqk[None] if at is None else bias_hqk[:, at].transpose(0, 1)


@contextmanager
def edited(module: nn.Module, edits: Edits) -> Iterator[None]:
    """Within, the module itself runs with the edits: slower than the fast step, whatever its configuration."""
    from interp.models import wrap
    from interp.models.attention import edited_attention

    scores = {("", layer): partial(_biased, edit) for layer, edit in edits.items() if edit.bias is not None}
    patterns = {("", layer): partial(_affine, edit) for layer, edit in edits.items() if edit.kept is not None}
    handles = []
    for layer, edit in edits.items():
        block: Any = module.get_submodule(f"layers.{layer}")
        if edit.attn != 1:
            handles.append(block.attn.o.register_forward_hook(partial(_times, edit.attn)))
        if edit.mlp != 1:
            handles.append(block.mlp.register_forward_hook(partial(_times, edit.mlp)))
    try:
        with edited_attention(wrap(module), scores, patterns):
            yield
    finally:
        for handle in handles:
            handle.remove()


def as_interventions(edits: Edits, n_pos: int) -> list[Intervention]:
    """The same for `interp.capture` and `interp.intervene`, on prompts of so many tokens."""
    from interp.hooks.interventions import Intervention

    out = []
    for layer, edit in edits.items():
        if edit.bias is not None:
            out.append(Intervention(site="attn_scores", layer=layer, kind="add", value=edit.bias[:, :n_pos, :n_pos]))
        if edit.kept is not None and edit.added is not None:
            out.append(Intervention(site="pattern", layer=layer, kind="scale", value=edit.kept[:, :n_pos, None]))
            out.append(Intervention(site="pattern", layer=layer, kind="add", value=edit.added[:, :n_pos, :n_pos]))
        for site, factor in (("attn_out", edit.attn), ("mlp_out", edit.mlp)):
            if factor != 1:
                out.append(Intervention(site=site, layer=layer, kind="scale", value=factor))
    return out


def _biased(edit: LayerEdit, scores: Tensor) -> Tensor:
    bias = bias_at(edit, scores.shape[-1], None, scores)
    return scores if bias is None else scores + bias


def _affine(edit: LayerEdit, pattern: Tensor) -> Tensor:
    n = pattern.shape[-1]
    assert edit.kept is not None
    assert edit.added is not None
    return edit.kept[:, :n, None].to(pattern) * pattern + edit.added[:, :n, :n].to(pattern)


def _times(factor: float, _module: nn.Module, _given: Any, out: Tensor) -> Tensor:
    return factor * out
