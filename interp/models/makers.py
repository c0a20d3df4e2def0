"""Whose code computes: torch's and transformers' own, which do what an architecture's map says, or somebody's in its place."""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

_MAKERS = (  # whose classes compute what an architecture's map says; quantised, parametrised and adapter layers are elsewhere
    "torch.nn.modules.",
    "transformers.models.",
    "transformers.activations",
    "transformers.pytorch_utils",
    "transformers.modeling_",
    "transformers.integrations.hub_kernels",
    "transformers.utils.",
    "transformer_lens.",
    "interp.models.native.",
)
_HOMES = frozenset(
    {"torch", "transformers", "kernels", "transformer_lens", "safetensors", "interp", *sys.stdlib_module_names}
    - {"__main__"}
)
FUNCTIONS = frozenset({types.FunctionType, types.MethodType, functools.partial})

_KNOWN: dict[tuple[type, Any], bool] = {}


def is_known(kind: type, forward: Any) -> bool:
    """Whether class and forward are of a known maker: a class may have been given another forward."""
    found = _KNOWN.get((kind, forward))
    if found is None:
        makers = kind.__module__, getattr(forward, "__module__", "")
        found = _KNOWN[kind, forward] = all(map(is_made_by, makers)) and not is_foreign(forward)
    return found


def is_made_by(maker: str) -> bool:
    return f"{maker}.".startswith(_MAKERS)


def made_in(function: Any) -> str:
    """The Python module that a function's code is in, which `functools.wraps` does not hide."""
    names = getattr(function, "__globals__", None)
    return str(names.get("__name__", "") if names else getattr(function, "__module__", ""))


def is_foreign(value: Any) -> bool:
    """Whether this is a function that somebody put where a function of torch's or transformers' was."""
    if type(value) is functools.partial:
        return is_foreign(value.func)
    if type(value) not in FUNCTIONS:
        return False
    makers = made_in(value), str(getattr(value, "__module__", ""))  # a decorator of torch's may stand around a function
    return any(maker.split(".")[0] not in _HOMES for maker in makers)
