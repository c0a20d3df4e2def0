"""What a module is made of at this moment, and what has been proved of it while it is made so.

A shortcut (`z W_O + b` for a projection, a block taken apart, the unembedding at some positions only) is exact for the modules
that an architecture's map describes. Somebody's hook, adapter, wrapper or exchanged part can make it wrong without an error.
So every engine asks here first: a *plain* module consists of torch's and transformers' own parts, which compute what their
classes say and look at nobody's position in the batch; of it a shortcut is tried once against the module's own pass, and again
after a part was exchanged. Of any other module it is tried on the prompts at hand, each time, or not taken.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import is_
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.nn.modules import module as torch_module

from interp.errors import InputError
from interp.models.makers import FUNCTIONS, is_foreign, is_known, is_made_by, made_in
from interp.models.shadowing import alone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

_TELLING = FUNCTIONS | {float, int, str}
"""Kinds of attributes that what a part computes may hang on; its mode is a bool, and no part of a state."""
_N_TABLES = 2  # the marks that begin every list: transformers' functions for attention and for its mask
_NOTE_TAKERS = "transformers.utils.output_capturing"  # its hooks stay behind once hidden states were asked for; they change nothing
_TOLERANCE = {torch.float16: 5e-2, torch.bfloat16: 5e-2}
"""Relative; 1e-4 otherwise: two orders of float32 sums in a small model differ by 1e-6, an adapter's part by 1e-2 and more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """parts: every sub-module, a shared one as often as it is reached. marks: what beside them decides what they compute.

    is_plain: see above. only_hooks: plain but for hooks. compiled: the parts whose calls would go around anything put in their
    way. proofs: what was tried of this state, by name. (All is held, so that nothing else can get its identity.) A copy of a
    module has no state yet: what is kept here is of the original.
    """

    parts: list[nn.Module]
    marks: list[Any]
    namespaces: list[dict[str, Any]]
    names: list[Any]
    global_hooks: bool
    is_plain: bool
    only_hooks: bool
    compiled: list[nn.Module]
    proofs: dict[Any, Any] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()


class Holder(Protocol):
    """What is needed of a handle here: the module, what it is called, and where its state is kept."""

    module: nn.Module
    config: Mapping[str, Any]
    _state: State | None
    _first: Tensor | None
    _proved: dict[str, bool]


def state_of(model: Holder) -> State:
    """The module's state; the same record as before while nothing was exchanged, hooked, overridden, set or compiled."""
    with alone:
        parts: list[nn.Module] = []
        marks: list[Any] = _settings(model.module)
        waiting = [model.module]
        while waiting:
            part = waiting.pop()
            own = part.__dict__
            parts.append(part)
            marks.append(type(part).forward)
            marks += own["_parameters"].values()
            marks += [value for value in own.values() if type(value) in _TELLING]
            if (
                own["_forward_hooks"]
                or own["_forward_pre_hooks"]
                or own["_backward_hooks"]
                or own["_backward_pre_hooks"]
            ):
                marks += _hooks(part)
            if own.get("_compiled_call_impl") is not None:
                marks.append(part)
            waiting += [each for each in own["_modules"].values() if each is not None]
        before = model._state
        if before is not None and _same(before.parts, parts) and _same(before.marks, marks):
            names, global_hooks = _in_namespaces(before.namespaces), _hooks_on_everything()
            if _same(before.names, names) and before.global_hooks == global_hooks:
                return before
        model._state = _examined(parts, marks)
        model._first = None
        model._proved.clear()
        return model._state


def _examined(parts: list[nn.Module], marks: list[Any]) -> State:
    """The state of a module of these parts, looked at for the first time."""
    makers = {type(part).__module__ for part in parts}
    namespaces = [vars(sys.modules[maker]) for maker in sorted(makers & sys.modules.keys()) if is_made_by(maker)]
    namespaces.append(vars(torch.nn.functional))
    names = _in_namespaces(namespaces)
    compiled = [part for part in parts if _is_compiled(part)]
    only_hooks = (
        not compiled
        and all(is_known(type(part), type(part).forward) and not _overridden(part) for part in parts)
        and not any(map(is_foreign, [*names, *marks[:_N_TABLES]]))
    )
    unhooked = not _hooks_on_everything() and not any(_hooks(part) for part in parts)
    return State(
        parts=parts,
        marks=marks,
        namespaces=namespaces,
        names=names,
        global_hooks=_hooks_on_everything(),
        is_plain=unhooked and only_hooks,
        only_hooks=only_hooks,
        compiled=compiled,
    )


def _settings(module: nn.Module) -> list[Any]:
    """What stands in transformers' tables for this module's kind of attention, and what its configuration says."""
    config = getattr(module, "config", None)
    tables = sys.modules.get("transformers.modeling_utils"), sys.modules.get("transformers.masking_utils")
    named = getattr(config, "_attn_implementation", None)
    found = [
        getattr(table, name).get(named) if table is not None and named is not None else None
        for table, name in zip(tables, ("ALL_ATTENTION_FUNCTIONS", "ALL_MASK_ATTENTION_FUNCTIONS"), strict=True)
    ]
    return found + list(getattr(config, "__dict__", {}).values())


def _in_namespaces(namespaces: list[dict[str, Any]]) -> list[Any]:
    return [value for names in namespaces for value in names.values()]


def _overridden(part: nn.Module) -> list[str]:
    """Methods of its class that the part has its own of."""
    kind = type(part)
    return [name for name, value in part.__dict__.items() if type(value) in FUNCTIONS and hasattr(kind, name)]


def _is_compiled(part: nn.Module) -> bool:
    return part.__dict__.get("_compiled_call_impl") is not None or "_orig_mod" in part.__dict__["_modules"]


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


def is_bare(part: nn.Module) -> bool:
    """Whether one sub-module is plain."""
    kind, own = type(part), part.__dict__
    return is_known(kind, kind.forward) and "forward" not in own and not _hooks(part) and not _hooks_on_everything()


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
        except InputError:  # of what was asked, perhaps, not of the module: it says nothing of the next attempt
            return False
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
    state = state_of(model)
    put = {made_in(value): value for value in [*state.names, *state.marks[:_N_TABLES]] if is_foreign(value)}
    found += [
        f"{getattr(value, '__name__', value)} of {maker} stands in its library's code" for maker, value in put.items()
    ]
    for name, part in model.module.named_modules():
        where, own, kind = name or "the module itself", part.__dict__, type(part)
        hooks = _hooks(part)
        if hooks:
            found.append(f"{where} has {len(hooks)} hook{'s' * (len(hooks) > 1)}")
        if "_hf_hook" in own:
            found.append(f"{where} is off-loaded (accelerate)")
        else:
            found += [f"{where} has a {name} of its own" for name in _overridden(part)]
        if _is_compiled(part):
            found.append(f"{where} is compiled")
        elif not is_known(kind, kind.forward):
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
