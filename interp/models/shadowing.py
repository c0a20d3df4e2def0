"""A module borrowed for a call: its mode and some of its methods are others for that long, and then again its own.

A torch hook takes its module off the fast road of `Module.__call__` and needs a handle: in a small model that is a tenth of
the time. A method in the instance's own dictionary stands in front of the class's and costs one more call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock, get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

alone = RLock()
"""Held by whoever has borrowed a module: within another thread's call it is not its own. One lock for all modules, which may
share parts."""

Put = Callable[["nn.Module", str, Callable[..., Any]], None]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within, the module is in eval mode and no other thread's; afterwards every sub-module has its own mode again."""
    with alone:
        training = [part for part in module.modules() if part.training] if module.training else []
        if training:
            module.eval()
        try:
            yield
        finally:
            for part in training:
                part.training = True


@contextmanager
def shadowing() -> Iterator[Put]:
    """Gives `put(module, name, function)`: until the end, `function` (without self) stands for that method of that module,
    for this thread.

    Then each module has again what it had, a shadow of somebody else's included.
    """
    covered: list[tuple[dict[str, Any], str, Any]] = []

    def put(module: nn.Module, name: str, function: Callable[..., Any]) -> None:
        own = module.__dict__
        covered.append((own, name, own.get(name)))
        own[name] = for_this_thread(function, getattr(module, name))

    try:
        yield put
    finally:
        for own, name, before in reversed(covered):
            if before is None:
                own.pop(name, None)
            else:
                own[name] = before


def for_this_thread(function: Callable[..., Any], otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """The function where this thread calls it, and the other one where another does."""
    mine = get_ident()

    def either(*args: Any, **kwargs: Any) -> Any:
        return (function if get_ident() == mine else otherwise)(*args, **kwargs)

    return either


def on_input(put: Put, module: nn.Module, edit: Callable[[Any], Any]) -> None:
    """`edit` sees, and returns, what the module's forward gets first (by name or not), after anybody's hooks."""
    forward = module.forward

    def edited(*args: Any, **kwargs: Any) -> Any:
        if args:
            return forward(edit(args[0]), *args[1:], **kwargs)
        first, *others = kwargs.items()
        return forward(**{first[0]: edit(first[1])}, **dict(others))

    put(module, "forward", edited)


def on_output(put: Put, module: nn.Module, edit: Callable[[Any], Any]) -> None:
    """`edit` sees, and returns, what a call of the module gives (the first of several), after anybody's hooks."""
    call: Callable[..., Any] = module._call_impl

    def edited(*args: Any, **kwargs: Any) -> Any:
        output = call(*args, **kwargs)
        return (edit(output[0]), *output[1:]) if isinstance(output, tuple) else edit(output)

    put(module, "_call_impl", edited)
