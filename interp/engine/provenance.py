"""What a result was made with: the code, which is part of its key; versions and machine, recorded beside the table."""

from __future__ import annotations

import ast
import importlib.util
import os
import platform
import site
import sys
import sysconfig
import time
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import interp
from interp import plugins

PACKAGES = ("torch", "transformer-lens", "transformers", "safetensors", "numpy", "pandas", "scipy", "plotly")
COMPUTING = ("seeds.py", "types.py", "models", "hooks", "measure", "patching", "tasks/_*.py", "tasks/__init__.py",
             "families/read.py", "families/pretrained.py", "families/legacy.py", "families/weights.py",
             "engine/bench.py", "engine/worker.py")  # fmt: skip
"""The files and folders of this library between a checkpoint and any value, whatever the measure."""


def environment() -> dict[str, Any]:
    """Versions of interp and of the packages that its numbers depend on, the machine, and the time now (UTC)."""
    return {
        "interp": interp.__version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": os.cpu_count(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


@cache
def code_of(kind: str, name: str) -> str:
    """A digest of the code of a plug-in: its file with what its kind builds on; of a third party's `module:function` the
    module and all that it imports from the same place. Of no kind: what every value of this library goes through."""
    if not kind:
        return _digest(_computing())
    if ":" in name:
        return _digest(sorted(_related(plugins.module(kind, name))))
    return plugins.source_version(kind, name)


def _computing() -> list[Path]:
    home = Path(interp.__file__).parent
    found = [path for pattern in COMPUTING for path in home.glob(pattern)]
    return sorted({file for path in found for file in (path.rglob("*.py") if path.is_dir() else [path])})


def _related(module: ModuleType) -> set[Path]:
    """The files of a third party's module and of the modules that it imports, those of Python, of installed packages and
    of this library excepted; of an installed plug-in those of its own package."""
    found: set[Path] = set()
    waiting, package = [module], module.__name__.partition(".")[0]
    while waiting:
        file = getattr(present := waiting.pop(), "__file__", None)
        theirs = file is not None and (present.__name__.partition(".")[0] == package or _is_own(Path(file)))
        if file is None or not theirs or Path(file) in found:
            continue
        found.add(Path(file))
        waiting += [sys.modules[name] for name in _imports(present, Path(file)) if name in sys.modules]
    return found


def _is_own(file: Path) -> bool:
    """Whether a file belongs to the person who runs this, rather than to Python or an installed package."""
    places = [*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_paths()["stdlib"], *interp.__path__]
    return not any(file.is_relative_to(folder) for folder in places)


def _imports(module: ModuleType, file: Path) -> set[str]:
    """The full names of what a module's source imports."""
    names: set[str] = set()
    if file.suffix != ".py":
        return names
    package = module.__name__ if hasattr(module, "__path__") else module.__name__.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(base, package) if node.level else base
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names | {name.rpartition(".")[0] for name in names}


def _digest(paths: list[Path]) -> str:
    return sha256(b"\n".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
