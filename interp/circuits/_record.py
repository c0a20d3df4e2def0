"""One forward pass (and, if asked, one backward pass) with everything that edges are computed from.

The gradient of a reader is taken behind its norm, at the output of the projection: no head gets its own copy of the
residual stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Tensor, nn

from interp.errors import InputError
from interp.models.attention import attention_module
from interp.models.shadowing import evaluating, for_this_thread
from interp.models.site_tensors import blocks, mapped, part_of, qkv_view
from interp.models.state import refusal, state_of, uncompiled

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from interp.models import Model


@dataclass(slots=True, kw_only=True, eq=False)
class Record:
    """A pass over prompts; lists are over layers.

    pre, mid: what ln1 and ln2 read, [prompt, pos, d_model]. final: what ln_final reads.
    z: [prompt, pos, head, d_head]. o, attn: the heads' sum before and after a norm on the way out. mlp: what the MLP
        adds.
    logits: at the positions read. attention: the arguments of every attention module.
    grad_*: gradients of the metric's sum at q, k, v, at what the MLP reads behind ln2, at what the unembedding reads,
        and (where wanted) at z, mlp and what enters the first block.
    """

    pre: list[Tensor] = field(default_factory=list)
    mid: list[Tensor] = field(default_factory=list)
    final: Tensor = field(default_factory=lambda: torch.empty(0))
    z: list[Tensor] = field(default_factory=list)
    o: list[Tensor] = field(default_factory=list)
    attn: list[Tensor] = field(default_factory=list)
    mlp: list[Tensor] = field(default_factory=list)
    logits: Tensor = field(default_factory=lambda: torch.empty(0))
    attention: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    q: list[Tensor] = field(default_factory=list)
    k: list[Tensor] = field(default_factory=list)
    v: list[Tensor] = field(default_factory=list)
    mlp_in: list[Tensor] = field(default_factory=list)
    final_normed: Tensor = field(default_factory=lambda: torch.empty(0))
    grad_q: list[Tensor] = field(default_factory=list)
    grad_k: list[Tensor] = field(default_factory=list)
    grad_v: list[Tensor] = field(default_factory=list)
    grad_mlp_in: list[Tensor] = field(default_factory=list)
    grad_final: Tensor = field(default_factory=lambda: torch.empty(0))
    grad_embed: Tensor = field(default_factory=lambda: torch.empty(0))
    grad_z: list[Tensor] = field(default_factory=list)
    grad_mlp: list[Tensor] = field(default_factory=list)


Edit = Callable[[Tensor], Tensor]
Hook = Callable[..., Any]


def record(
    model: Model,
    tokens: Int[Tensor, "prompt pos"],
    mask: Bool[Tensor, "prompt pos"] | None,
    read: Int[Tensor, "prompt answer_len"],
    *,
    objective: Callable[[Float[Tensor, "prompt answer_len vocab"]], Float[Tensor, ""]] | None = None,
    embedded: Float[Tensor, "prompt pos d_model"] | None = None,
    edits: Mapping[tuple[str, int], Edit] | None = None,
    outputs_too: bool = False,
) -> Record:
    """A pass over `tokens`, with the gradients of `objective(logits)` if given.

    embedded: stands in for what enters the first block.
    edits: changes to `z` or `mlp` of a layer, [prompt, pos, ...] -> the same shape; what is recorded is what they
        leave.
    outputs_too: gradients at z, mlp and what enters the first block as well.

    Raises:
        InputError: a part that the pass does not go through once, or that was made under inference_mode.
    """
    kept = Record()
    with ExitStack() as stack:
        state = state_of(model)
        stack.enter_context(evaluating(model.module))
        stack.enter_context(uncompiled(state))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(objective is not None))
        stack.enter_context(_without_weights(model.module))
        shape = tokens.shape
        hooks = _hooks(
            model, kept, read if state.is_plain else None, embedded, edits or {}, objective is not None, shape
        )
        for module, hook, before in hooks:
            attach = module.register_forward_pre_hook if before else module.register_forward_hook
            stack.callback(attach(for_this_thread(hook, _nothing), with_kwargs=True).remove)
        output = model.module(**model.inputs(tokens, mask))
        kept.logits = output if isinstance(output, Tensor) else output.logits
        if not state.is_plain:
            kept.logits = kept.logits[torch.arange(len(read), device=model.device)[:, None], read.to(model.device)]
        _check_whole(model, kept)
        if objective is not None:
            _differentiate(kept, objective(kept.logits), outputs_too)
    _detach(kept)
    return kept


def _nothing(*_: Any) -> None:
    """A hook that leaves all as it is."""


def _check_whole(model: Model, kept: Record) -> None:
    """Each layer has left everything behind, once."""
    lists: list[Sequence[Any]] = [kept.pre, kept.attention, kept.q, kept.k, kept.v, kept.z, kept.o, kept.attn]
    lists += [] if mapped(model).mlp is None else [kept.mid, kept.mlp_in, kept.mlp]
    if any(len(each) != model.n_layers for each in lists) or not kept.final.numel():
        raise refusal(model, "a forward pass does not go once through every part of every block")


@contextmanager
def _without_weights(module: nn.Module) -> Iterator[None]:
    """Within, no gradients are wanted of weights: what only these would need is not kept."""
    wanted = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in wanted:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in wanted:
            weight.requires_grad_(True)


def _hooks(
    model: Model,
    kept: Record,
    read: Tensor | None,
    embedded: Tensor | None,
    edits: Mapping[tuple[str, int], Edit],
    grad: bool,
    shape: torch.Size,
) -> list[tuple[nn.Module, Hook, bool]]:
    """(module, hook, whether it runs before the module) for everything that is kept. read: where to unembed (None: all)."""
    sites = mapped(model)
    where: Any = slice(None)
    if read is not None:
        where = torch.arange(len(read), device=model.device)[:, None], read.to(model.device)
    found: list[tuple[nn.Module, Hook, bool]] = []

    def first_input(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        stream = args[0] if embedded is None else embedded
        return (stream.detach().requires_grad_(grad), *args[1:]), kwargs

    found.append((blocks(model)[0], first_input, True))
    keep = _Keep(shape=shape, grad=grad)
    for layer in range(model.n_layers):
        found += _block_hooks(model, kept, keep, layer, edits)
    unembed = part_of(model, sites.unembed)
    final = unembed if sites.ln_final is None else part_of(model, sites.ln_final)

    def keep_final(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kept.final = args[0]

    def at_answer(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kept.final_normed = _followed(args[0], grad)
        return (kept.final_normed[where],), kwargs

    return [*found, (final, keep_final, True), (unembed, at_answer, True)]


def _followed(x: Tensor, grad: bool) -> Tensor:
    """The tensor, with a gradient of its own also where somebody's hook has cut it off from what came before."""
    return x.detach().requires_grad_() if grad and not x.requires_grad else x


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Keep:
    """Hooks that keep what goes by, [prompt, pos, …]. shape: (prompt, pos). grad: whether gradients are followed."""

    shape: torch.Size
    grad: bool

    def by_prompt(self, x: Tensor) -> Tensor:
        return (
            x.unflatten(0, self.shape) if x.dim() == 2 else x
        )  # some MLPs see all positions of all prompts as one axis

    def input(self, into: list[Tensor]) -> Hook:
        return lambda _, args, kwargs: into.append(self.by_prompt(args[0]))

    def call(self, into: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> Hook:
        return lambda _, args, kwargs: into.append((args, kwargs))

    def own_input(self, into: list[Tensor]) -> Hook:
        """Its gradient is this module's alone, whoever else reads the same."""

        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            into.append(_followed(self.by_prompt(args[0].view_as(args[0])), self.grad))
            return (into[-1].view_as(args[0]), *args[1:]), kwargs

        return hook

    def heads(self, into: list[Tensor], n_heads: int, edit: Edit | None) -> Hook:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            z = rearrange(args[0], "... (head d_head) -> ... head d_head", head=n_heads)
            into.append(_followed(z.view_as(z) if edit is None else edit(z), self.grad))
            return (rearrange(into[-1], "... head d_head -> ... (head d_head)"),), kwargs

        return hook

    def output(self, into: list[Tensor], *, edit: Edit | None = None, scale: float = 1.0, copied: bool = False) -> Hook:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            raw = output[0] if isinstance(output, tuple) else output
            first = self.by_prompt(raw) if scale == 1.0 else self.by_prompt(raw) * scale
            first = _followed(first if edit is None else edit(first), self.grad)
            into.append(first)
            own = first.view_as(raw) if scale == 1.0 else first.view_as(raw) / scale
            own = own.clone() if copied else own
            return (own, *output[1:]) if isinstance(output, tuple) else own

        return hook


def _block_hooks(
    model: Model, kept: Record, keep: _Keep, layer: int, edits: Mapping[tuple[str, int], Edit]
) -> list[tuple[nn.Module, Hook, bool]]:
    sites, block = mapped(model), blocks(model)[layer]
    o, attn_out = part_of(model, sites.o, layer), part_of(model, sites.attn_out, layer)
    found: list[tuple[nn.Module, Hook, bool]] = [
        (block, keep.input(kept.pre), True),
        (attention_module(model, layer), keep.call(kept.attention), True),
    ]
    for slot in "qkv":
        found.append((part_of(model, getattr(sites, slot), layer), keep.output(getattr(kept, slot)), False))
    found.append((o, keep.heads(kept.z, model.n_heads, edits.get(("z", layer))), True))
    found.append((o, keep.output(kept.o), False))
    found.append((attn_out, keep.output(kept.attn, scale=sites.resid_scale), False))
    if sites.mlp is not None and sites.mlp_out is not None:
        source = block if sites.resid_mid is None else part_of(model, sites.resid_mid, layer)
        found.append((source, keep.input(kept.mid), True))
        found.append((part_of(model, sites.mlp_chain[0], layer), keep.own_input(kept.mlp_in), True))
        # copied: Falcon's blocks add attention's output to the MLP's in place
        out = keep.output(kept.mlp, edit=edits.get(("mlp", layer)), scale=sites.resid_scale, copied=True)
        found.append((part_of(model, sites.mlp_out, layer), out, False))
    return found


def _differentiate(kept: Record, objective: Tensor, outputs_too: bool) -> None:
    """Fill in the gradients, those of q, k and v in the projections' own layout."""
    sides: list[tuple[str, Sequence[Tensor]]] = [("q", kept.q), ("k", kept.k), ("v", kept.v), ("mlp_in", kept.mlp_in)]
    if outputs_too:
        sides += [("z", kept.z), ("mlp", kept.mlp)]
    ends = [kept.final_normed, kept.pre[0]] if outputs_too else [kept.final_normed]
    if not objective.requires_grad:
        raise InputError(
            "no gradient comes back from the logits: something in the module cuts it off behind the unembedding"
        )
    wanted = {id(t): t for t in [*(t for _, tensors in sides for t in tensors), *ends]}
    grads = torch.autograd.grad(objective, list(wanted.values()), allow_unused=True, materialize_grads=True)
    of = dict(zip(wanted, grads, strict=True))
    for name, tensors in sides:
        setattr(kept, f"grad_{name}", [of[id(t)] for t in tensors])
    kept.grad_final = of[id(kept.final_normed)]
    if outputs_too:
        kept.grad_embed = of[id(kept.pre[0])]


def _detach(kept: Record) -> None:
    for name in Record.__slots__:
        value = getattr(kept, name)
        if isinstance(value, Tensor):
            setattr(kept, name, value.detach())
        elif value and isinstance(value[0], Tensor):
            setattr(kept, name, [t.detach() for t in value])


def by_head(model: Model, slot: str, raw: Tensor) -> Float[Tensor, "prompt pos head d_head"]:
    """q, k or v (or its gradient) out of the projection's own layout."""
    return qkv_view(model, slot)(raw)
