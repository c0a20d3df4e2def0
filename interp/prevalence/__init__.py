"""How often does a curve jump, for which tasks, and what goes with it: shares by kind with intervals, corrected for what
the grid could have seen.

The wing is named as its function, so it can be called: `interp.prevalence(table)` is `interp.prevalence.prevalence`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from interp.prevalence.analysis import Prevalence, prevalence
from interp.prevalence.text import format_prevalence

__all__ = ["Prevalence", "format_prevalence", "prevalence"]


class _Callable(ModuleType):
    """The import system puts the wing where `interp` has its function: both are one."""

    def __call__(self, *args: Any, **options: Any) -> Prevalence:
        return prevalence(*args, **options)


sys.modules[__name__].__class__ = _Callable
