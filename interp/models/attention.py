"""Attention with the scores and patterns in reach, switched in for the duration of a call.

transformers' modules look their attention up in a table by a name in the configuration: a private entry is named there.
Older classes have a method for it, NativeAttention a forward: these are shadowed on the instance. Of a module that computes
its softmax itself, that one call is watched. All is undone on leaving.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.overrides import TorchFunctionMode

from interp.errors import InputError
from interp.models.shadowing import shadowing
from interp.models.site_tensors import Spot, mapped, part_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor, nn

    from interp.models.handle import Model

Edit = Callable[["Tensor"], "Tensor"]
_NAME = "interp"
_EDITS: ContextVar[Mapping[nn.Module, tuple[Edit | None, Edit | None]]] = ContextVar("edits")


def attend(
    q: Float[Tensor, "row head query d_head"],
    k: Float[Tensor, "row kv_head key d_head"],
    v: Float[Tensor, "row kv_head key d_head"],
    keep: Bool[Tensor, "#row #head query key"] | None,
    scale: float,
    cap: float | None = None,
    edits: tuple[Edit | None, Edit | None] = (None, None),
    sinks: Float[Tensor, "head"] | None = None,
    bias: Float[Tensor, "#row head query key"] | None = None,
) -> tuple[Float[Tensor, "row head query d_head"], Float[Tensor, "row head query key"]]:
    """z and the pattern: softmax(cap·tanh(scale·q·k / cap)) v over the keys that `keep` allows (None: all).

    The first edit sees and returns the scores (-inf where masked), the second the pattern. A query that may attend to
    nothing gets a pattern of zeros. sinks: a score a head for attending to nothing, which takes its share of the softmax.
    bias: added to the scores.
    """
    groups = q.shape[1] // k.shape[1]
    scores = (q.unflatten(1, (k.shape[1], groups)) @ k.unsqueeze(2).mT).flatten(1, 2) * scale
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    if bias is not None:
        scores = scores + bias
    if keep is not None:
        scores = scores.masked_fill(~keep, float("-inf"))
    if edits[0] is not None:
        scores = edits[0](scores)
    widened = scores if sinks is None else _beside(scores, sinks)
    pattern = torch.softmax(widened, dim=-1, dtype=torch.float32 if scores.dtype.itemsize < 4 else None)
    pattern = pattern[..., : scores.shape[-1]]
    if keep is not None or edits[0] is not None:
        pattern = pattern.masked_fill(torch.isneginf(scores).all(-1, keepdim=True), 0.0)
    pattern = pattern.to(v.dtype)
    if edits[1] is not None:
        pattern = edits[1](pattern)
    z = (pattern.unflatten(1, (k.shape[1], groups)) @ v.unsqueeze(2)).flatten(1, 2)
    return z, pattern


def _beside(scores: Tensor, sinks: Tensor) -> Tensor:
    """The scores with each head's sink as one more key."""
    return torch.cat([scores, sinks[:, None, None].expand(*scores.shape[:-1], 1).to(scores)], dim=-1)


@contextmanager
def edited_attention(model: Model, scores: Mapping[Spot, Edit], patterns: Mapping[Spot, Edit]) -> Iterator[None]:
    """Within, the functions given see (and may change, by what they return) the scores and patterns of their layers, each
    named with its stack ("" where there is one)."""
    spots = sorted({*scores, *patterns})
    if not spots:
        yield
        return
    cores = {(stack, layer): attention_module(model, layer, stack) for stack, layer in spots}
    edits = {core: (scores.get(spot), patterns.get(spot)) for spot, core in cores.items()}
    match mapped(model).attention:
        case "table":
            switch = _table(model, edits)
        case "method":
            switch = _shadowed("_attn", _eager, edits)
        case "softmax":
            switch = _watched(model, edits)
        case _:
            switch = _shadowed("forward", _native_forward, edits)
    with switch:
        yield


def attention_module(model: Model, layer: int, stack: str = "") -> nn.Module:
    """The module that computes the attention of `layer`."""
    return part_of(model, mapped(model).of(stack).attn, layer, stack=stack)


@contextmanager
def _table(model: Model, edits: Mapping[nn.Module, tuple[Edit | None, Edit | None]]) -> Iterator[None]:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(_NAME, _from_table)
    ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, _boolean_mask)
    token = _EDITS.set(edits)
    try:
        with _implementation(model, edits, _NAME):
            yield
    finally:
        _EDITS.reset(token)


@contextmanager
def _implementation(model: Model, cores: Iterable[nn.Module], name: str) -> Iterator[None]:
    """Within, transformers' configurations name this implementation of attention."""
    stacks = (mapped(model).stacks or {"": mapped(model)}).values()
    parents = [model.module.get_submodule(sites.blocks.rpartition(".")[0]) for sites in stacks]
    owners = [model.module, *parents, *cores]
    found = [cast(Any, owner.config) for owner in owners if hasattr(owner, "config")]
    configs = {id(config): config for config in found if hasattr(config, "_attn_implementation_internal")}
    before = {key: config._attn_implementation_internal for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation_internal = name
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation_internal = before[key]


def _from_table(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor]:
    scale = options.get("scaling")
    z, pattern = attend(
        query,
        key,
        value,
        attention_mask,
        query.shape[-1] ** -0.5 if scale is None else scale,
        options.get("softcap"),
        _EDITS.get({}).get(module, (None, None)),  # another thread may pass by here too
        options.get("s_aux"),
        options.get("position_bias"),
    )
    return z.transpose(1, 2), pattern


def _boolean_mask(*args: Any, **options: Any) -> Tensor | None:
    from transformers.masking_utils import sdpa_mask

    return sdpa_mask(*args, **(options | {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}))


@contextmanager
def _shadowed(
    name: str, function: Callable[..., Any], edits: Mapping[nn.Module, tuple[Edit | None, Edit | None]]
) -> Iterator[None]:
    """Within, `function(module, edits, ...)` stands for the method `name` of each module."""
    with shadowing() as put:
        for core, edit in edits.items():
            put(core, name, partial(function, core, edit))
        yield


@contextmanager
def _watched(model: Model, edits: Mapping[nn.Module, tuple[Edit | None, Edit | None]]) -> Iterator[None]:
    """Within, the softmax of each module (or torch's attention in one step) goes through the edits."""
    masked = torch.finfo(model.dtype).min / 2  # what is masked has the smallest number of the dtype added or filled in

    def through(forward: Callable[..., Any], edit: tuple[Edit | None, Edit | None], *args: Any, **kwargs: Any) -> Any:
        with _Softmax(edit, masked) as watching:
            output = forward(*args, **kwargs)
        if watching.n_seen != 1:
            raise InputError(f"{watching.n_seen} softmaxes in the attention of {model.config['architecture']}, not one")
        return output

    with shadowing() as put:
        for core, edit in edits.items():
            put(core, "forward", partial(through, core.forward, edit))
        yield


class _Softmax(TorchFunctionMode):
    """Within, the softmax over the keys of [row, head, query, key] goes through the edits (of scores, of the pattern)."""

    def __init__(self, edits: tuple[Edit | None, Edit | None], masked: float):
        super().__init__()
        self.edits, self.masked, self.n_seen = edits, masked, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            self.n_seen += 1
            return self._in_one_step(*args, **(kwargs or {}))
        if func not in (torch.nn.functional.softmax, torch.softmax, torch.Tensor.softmax) or args[0].dim() != 4:
            return func(*args, **(kwargs or {}))
        self.n_seen += 1
        scores = args[0]
        nothing = (scores < self.masked).all(-1, keepdim=True)
        if self.edits[0] is not None:
            scores = self.edits[0](scores.masked_fill(scores < self.masked, float("-inf")))
            nothing = torch.isneginf(scores).all(-1, keepdim=True)
        pattern = func(scores, *args[1:], **(kwargs or {})).masked_fill(nothing, 0.0)
        return pattern if self.edits[1] is None else self.edits[1](pattern)

    def _in_one_step(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """torch's `scaled_dot_product_attention`, with the edits."""
        bias, keep = None, attn_mask
        if attn_mask is not None and attn_mask.dtype != torch.bool:
            bias, keep = attn_mask, attn_mask > self.masked
        if is_causal:
            keep = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()[None, None]
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        return attend(query, key, value, keep, scale, None, self.edits, None, bias)[0]


def _eager(
    module: Any,
    edits: tuple[Edit | None, Edit | None],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """GPT-Neo's `_attn`: unscaled scores in float32, its own causal (or local) mask, an additive mask for padding."""
    n_query, n_key = query.shape[-2], key.shape[-2]
    keep = module.bias[:, :, n_key - n_query : n_key, :n_key]
    if attention_mask is not None:
        keep = keep & (attention_mask if attention_mask.dtype == torch.bool else attention_mask > -1.0)
    return attend(query.float(), key.float(), value, keep, 1.0, None, edits)


def _native_forward(
    core: Any,
    edits: tuple[Edit | None, Edit | None],
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """NativeAttention's forward, with the edits."""
    n_pos = hidden_states.shape[1]
    q, k, v = (
        project(hidden_states).unflatten(-1, (-1, core.d_head)).transpose(1, 2) for project in (core.q, core.k, core.v)
    )
    if core.rotary is not None:
        q, k = core.rotary.apply_rope(q, k, position_ids=position_ids)
    keep = native_keep(core, n_pos, attention_mask)
    cap = core.attn_scores_soft_cap if core.attn_scores_soft_cap > 0 else None
    z, pattern = attend(q, k, v, keep, 1 / core.scale, cap, edits)
    return core.o(z.transpose(1, 2).flatten(2)), pattern


def native_keep(core: Any, n_pos: int, attention_mask: Tensor | None) -> Bool[Tensor, "#row 1 query key"]:
    """Which keys a query of a NativeAttention may attend to, given the padding mask [row, pos]."""
    if core.causal:
        keep = ~core.causal_mask[:n_pos, :n_pos][None, None]
    else:
        keep = torch.ones(1, 1, n_pos, n_pos, dtype=torch.bool, device=core.causal_mask.device)
    return keep if attention_mask is None else keep & attention_mask[:, None, None, :].bool()
