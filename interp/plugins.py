"""Adding a thing is adding a file: the lookup behind it.

A kind of thing (`tasks`, `indicators`, `circuits`) is a folder of the package. The file `<name>.py` in it defines a
callable `<name>`; nothing is registered. A third party's callable is named `package.module:function`.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from interp.errors import InputError, nearest, unknown

_NOUN = {"tasks": "task", "indicators": "measure", "circuits": "circuit method", "jumps.detectors": "detector"}
_BESIDE = {
    "indicators": ("measure/*.py",),
    "circuits": ("measure/metrics.py", "measure/scoring.py"),
    "circuits.formation": ("circuits/testing/*.py",),
}
"""Files outside of a kind's folder that its results depend on."""


@cache
def names(kind: str) -> tuple[str, ...]:
    """The names of every plug-in of the kind, sorted. Files that start with `_` are not plug-ins."""
    return tuple(sorted(file.stem for file in _folder(kind).glob("*.py") if not file.stem.startswith("_")))


def module(kind: str, name: str) -> ModuleType:
    """The module that defines the plug-in `name` of `kind`; a hyphen in a name stands for an underscore.

    Raises:
        InputError: no such file, or the third party's module cannot be imported.
    """
    if ":" in name:
        path = name.partition(":")[0]
        if path.partition(".")[0] in sys.stdlib_module_names:  # a file from elsewhere could call os:system
            raise InputError(f"{name!r} is Python's own; a plug-in is a function of a package that is made for this")
        try:
            return importlib.import_module(path)
        except ImportError as error:
            raise InputError(f"cannot import {path!r}, named by {name!r}: {error}") from error
    file = name.replace("-", "_")
    if file not in names(kind):
        raise unknown(_NOUN.get(kind, kind), name, names(kind))
    return importlib.import_module(f"interp.{kind}.{file}")


def load(kind: str, name: str) -> Any:
    """The callable of the plug-in `name` (a file's name, or `package.module:function`)."""
    found = module(kind, name)
    function = name.rpartition(":")[2].replace("-", "_")
    if not hasattr(found, function):
        public = [n for n in vars(found) if not n.startswith("_")]
        raise InputError(f"{found.__name__} defines no {function!r}{nearest(function, public)}")
    return getattr(found, function)


@cache
def source_version(kind: str, name: str) -> str:
    """A digest of the code that defines the plug-in and of what its kind builds on: other code's results are not reused."""
    helpers = [] if ":" in name else [*sorted(_folder(kind).glob("_*.py")), *_beside(kind)]
    source = inspect.getsource(module(kind, name)) + "".join(helper.read_text() for helper in helpers)
    return sha256(source.encode()).hexdigest()[:16]


def _beside(kind: str) -> list[Path]:
    return [file for pattern in _BESIDE.get(kind, ()) for file in sorted(Path(__file__).parent.glob(pattern))]


def _folder(kind: str) -> Path:
    return Path(__file__).parent.joinpath(*kind.split("."))
