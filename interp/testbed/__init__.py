"""Transformers whose circuit is known because it was built, and runs whose circuit forms at a known step."""

from interp.testbed.built import Built, build
from interp.testbed.family import program_task, write_family
from interp.testbed.planted import Planted, planted
from interp.testbed.programs import PROGRAMS
from interp.testbed.spliced import Spliced, spliced

__all__ = [
    "PROGRAMS",
    "Built",
    "Planted",
    "Spliced",
    "build",
    "planted",
    "program_task",
    "spliced",
    "write_family",
]
