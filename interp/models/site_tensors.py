"""From a site's name to the tensor in the running module: which sub-module, its input or its output, seen in which shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch

from interp.errors import InputError
from interp.models.sites import GLOBAL_SITES, HEAD_SITES, NEURON_SITES, SCORE_SITES, Sites, check_site, in_stack
from interp.models.state import refusal

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Tensor, nn

    from interp.models.handle import Model

View = Callable[["Tensor"], "Tensor"]
Spot = tuple[str, int]
"""A site and its layer (0 for the sites outside of the blocks)."""
Change = Callable[["Tensor"], None]
"""Changes a site's tensor, in the site's shape without the layer, in place."""
Look = Callable[["Tensor"], None]
"""Receives a site's tensor, in the site's shape without the layer."""


def as_it_is(raw: Tensor) -> Tensor:
    """The view of a tensor that has the site's shape."""
    return raw


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor in the running module. `view` shows the raw tensor in the site's own shape; writing to it writes to the raw one.

    in_place: the raw tensor is the residual stream itself, so an edit must change it rather than a copy.
    scale: the site is the raw tensor times this. flat: prompts and positions are one axis of the raw tensor.
    """

    module: nn.Module
    is_input: bool
    view: View = as_it_is
    in_place: bool = False
    scale: float = 1.0
    flat: bool = False


def blocks(model: Model, stack: str = "") -> list[nn.Module]:
    """The model's blocks (of an encoder-decoder, those of a stack), first layer first."""
    sites = mapped(model)
    found = list(cast(Any, part_of(model, sites.of(stack).blocks)))
    if sites.stacks is None and len(found) < model.n_layers:
        raise InputError(
            f"this {model.config['architecture']} has {len(found)} blocks, its configuration says {model.n_layers}"
        )
    return found


def part_of(
    model: Model, path: str, layer: int | None = None, parts: Sequence[nn.Module] | None = None, stack: str = ""
) -> nn.Module:
    """The sub-module at a path of the map, of a block where a layer is given. parts: the model's blocks, if they are known.

    Raises:
        InputError: the module has nothing there: a wrapped or exchanged part.
    """
    owner = model.module if layer is None else (blocks(model, stack) if parts is None else parts)[layer]
    try:
        return owner.get_submodule(path)
    except AttributeError as error:
        where = "" if layer is None else f"{mapped(model).of(stack).blocks}.{layer}."
        raise refusal(model, f"there is no sub-module {where}{path}") from error


def n_layers_at(model: Model, site: str) -> int:
    """How many layers have the site."""
    stack = in_stack(site)[0]
    return len(blocks(model, stack)) if stack else model.n_layers


def read_at(
    model: Model, site: str, tokens: Int[Tensor, "prompt pos"], mask: Bool[Tensor, "prompt pos"] | None
) -> tuple[Int[Tensor, "prompt pos"], Bool[Tensor, "prompt pos"] | None]:
    """The tokens, and their mask, whose positions (of scores: the queries') a site has: in an encoder-decoder those that the
    decoder reads, but for the encoder and for the keys and values that cross attention takes from it."""
    stack, name = in_stack(site)
    if model.sites is None or model.sites.stacks is None or stack == "encoder":
        return tokens, mask
    return (tokens, mask) if stack == "cross" and name in ("k", "v") else (model.decoder_tokens(len(tokens)), None)


def n_keys_at(model: Model, site: str, tokens: Int[Tensor, "prompt pos"]) -> int:
    """How many keys the scores of a site are over."""
    return (tokens if in_stack(site)[0] != "decoder" else model.decoder_tokens(len(tokens))).shape[1]


def mapped(model: Model) -> Sites:
    """The model's map of sites; an error where it has none."""
    if model.sites is None:
        raise InputError(
            f"{model.config['architecture']} has no map of sites; only the bridge can reach its activations"
        )
    return model.sites


def place(model: Model, site: str, layer: int, parts: Sequence[nn.Module] | None = None) -> Place:
    """Where `site` (any but the attention scores and patterns) of `layer` is. parts: the model's blocks, if they are known."""
    check_site(site, mapped(model))
    stack, site = in_stack(site)
    sites = mapped(model).of(stack)
    if site in GLOBAL_SITES:
        path = {"embed": sites.embed, "ln_final": sites.ln_final, "logits": sites.unembed}[site]
        scale = {"embed": sites.embed_scale, "logits": sites.logit_scale}.get(site, 1.0)
        if path is None:  # without a final norm the unembedding reads the stream itself
            return Place(part_of(model, sites.unembed), True)
        return Place(part_of(model, path), False, scale=scale)
    parts = blocks(model, stack) if parts is None or stack else parts
    block = parts[layer]

    def at(path: str | None, is_input: bool, view: View = as_it_is, in_place: bool = False) -> Place:
        scale = sites.resid_scale if site in ("attn_out", "mlp_out") else 1.0
        flat = sites.flat_mlp and site in ("resid_mid", "mlp_out", *NEURON_SITES)
        return Place(part_of(model, cast(str, path), layer, parts, stack), is_input, view, in_place, scale, flat)

    match site:
        case "resid_pre":
            return Place(block, True)
        case "resid_post":
            return Place(block, False)
        case "resid_mid":
            return at(sites.resid_mid, True, in_place=True)
        case "attn_out":
            return at(sites.attn_out, False)
        case "mlp_out":
            return at(sites.mlp_out, False)
        case "mlp_pre":
            return at(sites.mlp_in, False, _first_half if sites.fused_gate else as_it_is)
        case "mlp_post":
            return at(sites.mlp_final, True)
        case "z":
            return at(sites.o, True, partial(_heads, n_heads=model.n_heads))
        case "q" | "k" | "v":
            return at(getattr(sites, site), False, qkv_view(model, site))
    raise InputError(f"{site} is not the input or output of a module")


def qkv_view(model: Model, site: str) -> View:
    """How q, k or v [..., head, d_head] is seen in the output of the module that projects it."""
    site = in_stack(site)[1]
    which, n_heads, d_head = "qkv".index(site), model.n_heads, model.d_head
    n = n_heads if site == "q" else model.n_kv_heads
    match mapped(model).qkv:
        case "split":
            return partial(_heads, n_heads=n)
        case "concat":
            start = 0 if site == "q" else (n_heads + (which - 1) * n) * d_head
            return partial(_section, start=start, length=n * d_head, n_heads=n)
        case _:
            return partial(_interleaved, n_heads=n_heads, start=which * d_head, length=d_head)


def _heads(raw: Tensor, n_heads: int) -> Tensor:
    return raw.unflatten(-1, (n_heads, -1))


def _first_half(raw: Tensor) -> Tensor:
    return raw.narrow(-1, 0, raw.shape[-1] // 2)


def _section(raw: Tensor, start: int, length: int, n_heads: int) -> Tensor:
    return raw.narrow(-1, start, length).unflatten(-1, (n_heads, -1))


def _interleaved(raw: Tensor, n_heads: int, start: int, length: int) -> Tensor:
    return raw.unflatten(-1, (n_heads, -1)).narrow(-1, start, length)


def n_heads_at(model: Model, site: str) -> int | None:
    """How many heads the site has: those of the keys and values for k and v; None where it has no heads."""
    if in_stack(site)[1] in ("k", "v"):
        return model.n_kv_heads
    return model.n_heads if site in (*HEAD_SITES, *SCORE_SITES) else None


def check_indices(what: str, wanted: int | Sequence[int] | None, n: int) -> list[int]:
    """The wanted indices out of `n` (all for None; negative ones count from the end), in the order given.

    Raises:
        InputError: an index that does not exist.
    """
    chosen = range(n) if wanted is None else [wanted] if isinstance(wanted, int) else list(wanted)
    for index in chosen:
        if not -n <= index < n:
            raise InputError(f"there is no {what} {index}: this model has {n}, 0 to {n - 1}")
    return [index % n for index in chosen]


def resolve_positions(
    positions: int | Sequence[int] | Int[Tensor, "prompt"] | Int[Tensor, "prompt chosen"] | None,
    tokens: Int[Tensor, "prompt pos"],
    mask: Bool[Tensor, "prompt pos"] | None,
) -> Int[Tensor, "prompt chosen"] | None:
    """Each prompt's own positions as indices from the left; None stays None (all).

    A number or a list holds for every prompt, a tensor gives each prompt its own. Negative positions count back from the
    prompt's last unmasked one (-1).

    Raises:
        InputError: a position outside of the prompts.
    """
    if positions is None:
        return None
    n_prompts, n_pos = tokens.shape
    if isinstance(positions, torch.Tensor) and positions.dim() > 0:
        chosen = positions.to(tokens.device).long()
        if chosen.shape[0] != n_prompts:
            raise InputError(f"expected a position for each of {n_prompts} prompts, got {chosen.shape[0]}")
        chosen = chosen.reshape(n_prompts, -1)
    else:
        listed = [int(positions)] if not isinstance(positions, Sequence) else list(positions)
        chosen = torch.tensor(listed, device=tokens.device).expand(n_prompts, -1)
    if mask is None:
        end = torch.tensor(n_pos, device=tokens.device)
    else:
        places = torch.arange(1, n_pos + 1, device=tokens.device)
        end = (mask.to(tokens.device).bool() * places).amax(1, keepdim=True)
    resolved = torch.where(chosen < 0, end + chosen, chosen)
    if resolved.numel() and (resolved.min() < 0 or resolved.max() >= n_pos):
        raise InputError(f"a position lies outside of the prompts, which have {n_pos} (asked: {positions})")
    return resolved
