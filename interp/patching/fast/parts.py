"""A model taken apart into the steps of its blocks, with what each block receives on given prompts.

The blocks themselves are not run for that: the embedding, the masks and the rotations are the module's own, the rest is read
off its map of sites.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.functional import gelu, linear

from interp.models.attention import edited_attention, native_keep
from interp.models.shadowing import shadowing
from interp.models.site_tensors import blocks, mapped, qkv_view
from interp.models.state import state_of
from interp.models.weights import bias, matrix, mlp, norm

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from interp.models import Model, Sites

Step = Callable[["Tensor"], "Tensor"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """A block's parts, and what it gets beside the residual stream on given prompts.

    q, k, v: from the normed stream [row, pos, d_model] to [row, head, pos, d_head], before rotation; qkv: all three at once,
    where one module projects them. ln1, ln1_post, ln2, ln2_post: the identity where the architecture has none. mlp: None
    without. keep: what a query may attend to, Bool[#prompt, 1, query, key]. cos, sin: [#prompt, pos, rotated], None without
    rotation.
    """

    ln1: Step
    q: Step
    k: Step
    v: Step
    qkv: Callable[[Tensor, Tensor | None], tuple[Tensor, ...]] | None
    o: nn.Module
    ln1_post: Step
    ln2: Step
    mlp: Step | None
    mlp_final: nn.Module | None
    ln2_post: Step
    parallel: bool
    cos: Tensor | None
    sin: Tensor | None
    rotate_half: Step | None
    keep: Tensor
    scale: float
    cap: float | None


class _Recorded(Exception):
    """Every block's arguments are known."""


def take_apart(
    model: Model, tokens: Tensor, mask: Tensor | None, n_prompts: int | None = None
) -> tuple[list[Block], Float[Tensor, "prompt pos d_model"]]:
    """The blocks, and what enters the first one: runs the embedding and records what every block receives, without running it.

    n_prompts: `tokens` and `mask` hold these prompts in several versions, one after the other, with the same masks.
    """
    sites, modules = mapped(model), blocks(model)
    received: list[Mapping[str, Any]] = []
    unchanged = (
        dict.fromkeys((("", layer) for layer in range(len(modules))), _same) if sites.attention == "table" else {}
    )
    with ExitStack() as stack:
        stack.enter_context(edited_attention(model, unchanged, {}))
        stack.enter_context(_recording(modules, received, tuples=sites.tuple_blocks))
        stack.enter_context(suppress(_Recorded))
        model.module(**model.inputs(tokens, mask))
    n_prompts = len(tokens) if n_prompts is None else n_prompts
    masks: dict[int, Tensor] = {}  # layers share theirs
    made = [_block(sites, *one, n_prompts, masks) for one in zip(_parts(model), received, strict=True)]
    return made, received[0]["hidden_states"]


def is_causal(made: Sequence[Block]) -> bool:
    """Whether no query sees a later key."""
    return not any(bool(keep.triu(1).any()) for keep in {id(block.keep): block.keep for block in made}.values())


def _same(x: Tensor) -> Tensor:
    return x


@contextmanager
def _recording(parts: list[nn.Module], received: list[Mapping[str, Any]], *, tuples: bool) -> Iterator[None]:
    """Within, blocks hand the residual stream on as it is and note their arguments; the last one ends the pass."""

    def noting(block: nn.Module) -> Callable[..., Any]:
        signature = _signature(cast(Any, type(block)))

        def forward(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(block, *args, **kwargs).arguments
            received.append({**bound.pop("kwargs", {}), **bound})
            if block is parts[-1]:
                raise _Recorded
            return (received[-1]["hidden_states"],) if tuples else received[-1]["hidden_states"]

        return forward

    with shadowing() as put:
        for block in parts:
            put(block, "forward", noting(block))
        yield


@cache
def _signature(kind: type) -> inspect.Signature:
    return inspect.signature(kind.forward)  # type: ignore[attr-defined]


def _parts(model: Model) -> list[tuple[nn.Module, Callable[..., Block]]]:
    """Every block's attention, and the block without what it receives: found once a state of the module."""
    known = state_of(model).proofs
    if "parts" not in known:
        known["parts"] = [_taken(model, layer, block) for layer, block in enumerate(blocks(model))]
    return known["parts"]


def _taken(model: Model, layer: int, block: nn.Module) -> tuple[nn.Module, Callable[..., Block]]:
    sites, part = mapped(model), block.get_submodule

    def step(path: str | None) -> Step:
        return _same if path is None else part(path)

    return part(sites.attn), partial(
        Block,
        ln1=step(sites.ln1),
        q=_projection(model, part, "q"),
        k=_projection(model, part, "k"),
        v=_projection(model, part, "v"),
        qkv=None if sites.qkv == "split" else _fused(model, part),
        o=part(sites.o),
        ln1_post=norm(model, "ln1_post", layer),
        ln2=step(sites.ln2),
        mlp=None if sites.mlp is None else _mlp(model, layer, part),
        mlp_final=None if sites.mlp_final is None else part(sites.mlp_final),
        ln2_post=norm(model, "ln2_post", layer),
        parallel=sites.parallel,
    )


def _block(
    sites: Sites,
    taken: tuple[nn.Module, Callable[..., Block]],
    received: Mapping[str, Any],
    n_prompts: int,
    masks: dict[int, Tensor],
) -> Block:
    """The block with what it received. masks: what was made of each attention mask so far, by its identity."""
    core, mask, cap = cast(Any, taken[0]), received.get("attention_mask"), None
    n_pos = received["hidden_states"].shape[1]
    rotation: tuple[Any, Any, Any] = (None, None, None)
    match sites.attention:
        case "native":
            key, scale = 0, 1 / core.scale
            keep = None if key in masks else native_keep(core, n_pos, mask)
            cap = core.attn_scores_soft_cap if core.attn_scores_soft_cap > 0 else None
            if core.rotary is not None:
                at = received["position_ids"]
                rotation = (core.rotary.cos_cached[at], core.rotary.sin_cached[at], core.rotary._rotate_half)
        case "method":
            key, scale = id(core), 1.0
            keep = core.bias[:, :, :n_pos, :n_pos]
            if mask is not None:
                keep = keep & (mask if mask.dtype == torch.bool else mask > -1.0)
        case _:
            key, keep, scale, cap = id(mask), mask, core.scaling, getattr(core, "attn_logit_softcapping", None)
            if sites.rotary:
                rotation = (*received["position_embeddings"], sys.modules[type(core).__module__].rotate_half)
    if key not in masks:
        masks[key] = _with_self(cast("Tensor", keep)[:n_prompts])
    cos, sin = (None if table is None else table[:n_prompts] for table in rotation[:2])
    return taken[1](cos=cos, sin=sin, rotate_half=rotation[2], keep=masks[key], scale=scale, cap=cap)


def _with_self(keep: Tensor) -> Tensor:
    """A padding position that may attend to nothing attends to itself: what it computes is read by nobody, but is finite."""
    nothing = ~keep.any(-1, keepdim=True)
    return keep | (nothing & torch.eye(keep.shape[-1], dtype=torch.bool, device=keep.device))


def _projection(model: Model, part: Callable[[str], nn.Module], site: str) -> Step:
    """x -> q, k or v by heads, [row, head, pos, d_head], with the norm that may follow the projection."""
    sites, view = mapped(model), qkv_view(model, site)
    module = part(getattr(sites, site))
    path = {"q": sites.q_norm, "k": sites.k_norm, "v": None}[site]
    after = None if path is None else part(path)
    if after is None:
        return lambda x: view(module(x)).transpose(1, 2)
    if sites.flat_qk_norm:
        return lambda x: view(after(module(x))).transpose(1, 2)
    return lambda x: after(view(module(x))).transpose(1, 2)


def _mlp(model: Model, layer: int, part: Callable[[str], nn.Module]) -> Step:
    """The MLP as a whole; where its activation is transformers' GELU of eight operations, with torch's of one."""
    sites = mapped(model)
    act = getattr(part(sites.mlp_chain[0]), "act", None)
    if sites.mlp_up is not None or type(act).__name__ != "NewGELUActivation":
        return mlp(model, layer)
    first, final = part(cast(str, sites.mlp_in)), part(cast(str, sites.mlp_final))
    return lambda x: final(gelu(first(x), approximate="tanh"))


def _fused(model: Model, part: Callable[[str], nn.Module]) -> Callable[[Tensor, Tensor | None], tuple[Tensor, ...]]:
    """q, k and v at once, where one module projects them; q at the positions `read` [row, chosen] only, unless None."""
    module = part(mapped(model).q)
    views = [qkv_view(model, site) for site in "qkv"]
    n_query = model.n_heads * model.d_head

    def project(x: Tensor, read: Tensor | None) -> tuple[Tensor, ...]:
        # A query mixes its own row of the pattern: of positions that are not read no query is needed, but keys and values are.
        if read is not None and mapped(model).qkv == "concat":
            weight, constant = matrix(module).mT, bias(module)
            parts = [None, None] if constant is None else [constant[:n_query], constant[n_query:]]
            q = linear(at_positions(x, read), weight[:n_query], parts[0])
            k, v = linear(x, weight[n_query:], parts[1]).chunk(2, dim=-1)
            return tuple(y.unflatten(-1, (-1, model.d_head)).transpose(1, 2) for y in (q, k, v))
        raw = module(x)
        q, k, v = (view(raw).transpose(1, 2) for view in views)
        return q if read is None else torch.take_along_dim(q, read[:, None, :, None], 2), k, v

    return project


def at_positions(x: Tensor, read: Tensor) -> Tensor:
    """x [row, pos, d] at each row's own positions [row, chosen]."""
    return x[torch.arange(len(x), device=x.device)[:, None], read]
