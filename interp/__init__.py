"""interp: when does a capability appear, which circuit carries it, and what could have warned us?

The names below are the whole public surface; each is imported on first use, so that `import interp` and `interp --help`
load neither torch nor transformer_lens.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

_HOME = {
    "InputError": "interp.errors",
    "Prompts": "interp.types",
    "Task": "interp.types",
    "Batch": "interp.types",
    "Address": "interp.types",
    "CheckpointRef": "interp.types",
    "family": "interp.families",
    "load": "interp.families",
    "stream": "interp.families.streaming",
    "wrap": "interp.models",
    "Model": "interp.models",
    "Texts": "interp.types",
    "TextForm": "interp.types",
    "Example": "interp.types",
    "Protocol": "interp.types",
    "Structure": "interp.types",
    "task": "interp.tasks",
    "fit_task": "interp.tasks",
    "tokenized": "interp.tasks._text",
    "capture": "interp.hooks.activations",
    "capture_to_disk": "interp.hooks.streaming",
    "open_stored": "interp.hooks.streaming",
    "reduce_stream": "interp.hooks.reduction",
    "intervene": "interp.hooks.interventions",
    "Intervention": "interp.hooks.interventions",
    "patch": "interp.patching",
    "logit_lens": "interp.lenses",
    "direct_logit_attribution": "interp.lenses",
    "attention_view": "interp.lenses",
    "find_circuit": "interp.circuits",
    "faithfulness": "interp.circuits",
    "validate_circuit": "interp.circuits.validation",
    "track_circuit": "interp.circuits.formation",
    "hypothesis": "interp.circuits.testing.claims",
    "Circuit": "interp.circuits",
    "find_jumps": "interp.jumps",
    "rank_leads": "interp.leads",
    "forecast": "interp.leads",
    "intervention_effects": "interp.leads",
    "prevalence": "interp.prevalence",
    "read_table": "interp.table",
    "rolling": "interp.table.rolling",
    "Recorder": "interp.engine.recorder",
    "trainer_callback": "interp.engine.callbacks",
    "lightning_callback": "interp.engine.callbacks",
    "read_logs": "interp.exchange",
    "write_logs": "interp.exchange",
    "write_dataset": "interp.exchange",
    "evaluate_task": "interp.measure.questions",
    "harness_model": "interp.measure.lm_eval",
    "equivalence": "interp.circuits.testing.hypotheses",
    "independence": "interp.circuits.testing.hypotheses",
    "minimality_tests": "interp.circuits.testing.hypotheses",
    "optimal_faithfulness": "interp.circuits.testing.optimal",
    "read_experiment": "interp.engine.checks",
    "run_experiment": "interp.engine.sweep",
}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        from importlib.util import find_spec

        from interp.errors import nearest

        if not name.startswith("_") and find_spec(f"interp.{name}"):
            return importlib.import_module(f"interp.{name}")  # a wing: interp.circuits.to_mib
        raise AttributeError(f"module 'interp' has no attribute {name!r}{nearest(name, _HOME)}")
    value = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
