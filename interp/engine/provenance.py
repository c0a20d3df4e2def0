"""What a result was made with: versions and machine. Recorded beside the table, never inside it."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import interp

PACKAGES = ("torch", "transformer-lens", "transformers", "safetensors", "numpy", "pandas", "scipy", "plotly")


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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
