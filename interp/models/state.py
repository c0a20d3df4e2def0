"""What a module is made of at this moment, and what has been proved of it while it is made so.

A shortcut (`z W_O + b` for a projection, a block taken apart, the unembedding at some positions only) is exact for the modules
that an architecture's map describes. Somebody's hook, adapter, wrapper or exchanged part can make it wrong without an error.
So every engine asks here first: a *plain* module consists of torch's and transformers' own parts, which compute what their
classes say and look at nobody's position in the batch; of it a shortcut is tried once against the module's own pass, and again
after a part was exchanged. Of any other module it is tried on the prompts at hand, each time, or not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import is_
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.nn.modules import module as torch_module

from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

_MAKERS = (  # whose classes compute what an architecture's map says; quantised, parametrised and adapter layers are elsewhere
    "torch.nn.modules.",
    "transformers.models.",
    "transformers.activations",
    "transformers.pytorch_utils",
    "transformers.modeling_",
    "transformers.integrations.hub_kernels",
    "transformers.utils.",
    "transformer_lens.",
)
_NOTE_TAKERS = "transformers.utils.output_capturing"  # its hooks stay behind once hidden states were asked for; they change nothing
_TOLERANCE = {torch.float16: 5e-2, torch.bfloat16: 5e-2}
"""Relative; 1e-4 otherwise: two orders of float32 sums in a small model differ by 1e-6, an adapter's part by 1e-2 and more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """parts: every sub-module, a shared one as often as it is reached. marks: what beside them decides what they compute.

    is_plain: see above. only_hooks: plain but for hooks. compiled: the parts whose calls would go around anything put in their
    way. proofs: what was tried of this state, by name. (Parts and marks are held, so that nothing else can get their identity.)
    """

    parts: list[nn.Module]
    marks: list[Any]
    is_plain: bool
    only_hooks: bool
    compiled: list[nn.Module]
    proofs: dict[Any, Any] = field(default_factory=dict)


class Holder(Protocol):
    """What is needed of a handle here: the module, what it is called, and where its state is kept."""

    module: nn.Module
    config: Mapping[str, Any]
    _state: State | None
    _first: Tensor | None
    _proved: dict[str, bool]


def state_of(model: Holder) -> State:
    """The module's state; the same record as before while nothing was exchanged, hooked, overridden or compiled."""
    parts: list[nn.Module] = []
    compiled: list[nn.Module] = []
    marks: list[Any] = [getattr(getattr(model.module, "config", None), "_attn_implementation", None)]
    unhooked, only_hooks, waiting = not _hooks_on_everything(), True, [model.module]
    while waiting:
        part = waiting.pop()
        own = part.__dict__
        parts.append(part)
        kind = type(part)
        marks += own["_parameters"].values()
        if own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]:
            hooks = _hooks(part)
            marks += hooks
            unhooked = unhooked and not hooks
        if "forward" in own or "_call_impl" in own:
            marks += [own.get("forward"), own.get("_call_impl")]
            only_hooks = False
        if own.get("_compiled_call_impl") is not None or "_orig_mod" in own["_modules"]:
            compiled.append(part)
            only_hooks = False
        only_hooks = only_hooks and _is_known(kind, kind.forward)
        waiting += [each for each in own["_modules"].values() if each is not None]
    before = model._state
    if before is not None and _same(before.parts, parts) and _same(before.marks, marks) and before.compiled == compiled:
        return before
    model._state = State(
        parts=parts, marks=marks, is_plain=unhooked and only_hooks, only_hooks=only_hooks, compiled=compiled
    )
    model._first = None
    model._proved.clear()
    return model._state


def _same(before: list[Any], now: list[Any]) -> bool:
    return len(before) == len(now) and all(map(is_, before, now))


def _hooks(part: nn.Module) -> list[Any]:
    found = [
        hook
        for hooks in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
        for hook in hooks.values()
    ]
    return [hook for hook in found if getattr(hook, "__module__", "") != _NOTE_TAKERS]


def _hooks_on_everything() -> bool:
    return bool(
        torch_module._global_forward_hooks
        or torch_module._global_forward_pre_hooks
        or torch_module._global_backward_hooks
        or torch_module._global_backward_pre_hooks
    )


_KNOWN: dict[tuple[type, Any], bool] = {}


def _is_known(kind: type, forward: Any) -> bool:
    """Whether class and forward are of a known maker: a class may have been given another forward."""
    found = _KNOWN.get((kind, forward))
    if found is None:
        makers = (kind.__module__, getattr(forward, "__module__", ""))
        found = _KNOWN[kind, forward] = all(f"{maker}.".startswith(_MAKERS) for maker in makers)
    return found


def is_bare(part: nn.Module) -> bool:
    """Whether one sub-module is plain."""
    kind, own = type(part), part.__dict__
    return _is_known(kind, kind.forward) and "forward" not in own and not _hooks(part) and not _hooks_on_everything()


def is_plain(model: Holder) -> bool:
    """Whether the module consists of its architecture's own parts alone."""
    return state_of(model).is_plain


def proved(
    model: Holder,
    claim: Any,
    attempt: Callable[[], bool],
    *,
    whatever_hooks: bool = False,
    state: State | None = None,
) -> bool:
    """Whether `attempt` shows the claim; tried once a state of a plain module, each time of any other.

    state: the module's, where it is known already. whatever_hooks: hooks cannot touch the claim, so that a module with hooks is
    as good as a plain one.
    What an attempt trips over (a part that has not what the map says) counts as no.
    """
    state = state_of(model) if state is None else state
    stays = state.only_hooks if whatever_hooks else state.is_plain
    found = state.proofs.get(claim) if stays else None
    if found is None:
        try:
            found = attempt()
        except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
            found = False
        state.proofs[claim] = found
    return bool(found)


def agree(got: Tensor, want: Tensor) -> bool:
    """Whether two roads to the same numbers gave the same, by the largest of them. Where `want` is NaN or infinite (a run
    that diverged), nothing is compared."""
    if got.shape != want.shape:
        return False
    finite = torch.isfinite(want)
    if not bool(finite.any()):
        return True
    got, want = got[finite].detach(), want[finite].detach()
    tolerance = max(_TOLERANCE.get(got.dtype, 1e-4), _TOLERANCE.get(want.dtype, 1e-4))
    off = (got.double() - want.double()).abs().max()
    return bool(off <= tolerance * want.double().abs().max() + torch.finfo(torch.float32).tiny)


def refusal(model: Holder, what: str) -> InputError:
    """The error for a number that would be off: what disagrees, and what of the module is not its architecture's own."""
    found = peculiarities(model)
    kind = model.config.get("architecture", type(model.module).__name__)
    if not found:
        return InputError(f"{what}: the map of {kind} does not describe this module")
    shown = "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
    return InputError(f"{what}. Of this {kind} is not as its architecture has it: {shown}")


def peculiarities(model: Holder) -> list[str]:
    """What of the module is not its architecture's own, each with the sub-module's name."""
    found = ["a hook on every module"] if _hooks_on_everything() else []
    for name, part in model.module.named_modules():
        where, own, kind = name or "the module itself", part.__dict__, type(part)
        hooks = _hooks(part)
        if hooks:
            found.append(f"{where} has {len(hooks)} hook{'s' * (len(hooks) > 1)}")
        if "_hf_hook" in own:
            found.append(f"{where} is off-loaded (accelerate)")
        elif "forward" in own or "_call_impl" in own:
            found.append(f"{where} has a forward of its own")
        if own.get("_compiled_call_impl") is not None or "_orig_mod" in own["_modules"]:
            found.append(f"{where} is compiled")
        elif not _is_known(kind, kind.forward):
            found.append(f"{where} is a {kind.__module__}.{kind.__name__}")
    return found


@contextmanager
def uncompiled(state: State) -> Iterator[None]:
    """Within, nothing runs compiled: compiled code calls neither hooks nor methods that stand in front of a class's."""
    if not state.compiled:
        yield
        return
    before = [(part.__dict__, part.__dict__.get("_compiled_call_impl")) for part in state.compiled]
    with torch.compiler.set_stance("force_eager"):
        try:
            for own, _ in before:
                own.pop("_compiled_call_impl", None)
            yield
        finally:
            for own, compiled in before:
                if compiled is not None:
                    own["_compiled_call_impl"] = compiled
