"""Interventions in bulk: sweeps of activation patches, path patching, attention knock-out."""

from interp.patching.paths import PathEffect, knock_out, path_patch
from interp.patching.request import PATCH_SITES
from interp.patching.result import Patched
from interp.patching.sweep import patch

__all__ = ["PATCH_SITES", "Patched", "PathEffect", "knock_out", "patch", "path_patch"]
