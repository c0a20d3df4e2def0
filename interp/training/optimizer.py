"""The optimiser of a run and its learning rate."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.nn import Module

    from interp.families.planned import PlannedRun

_GUARDED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def learning_rate(run: PlannedRun, step: int) -> float:
    """The rate of optimiser step `step` (from 0): a linear rise over the first `warmup` steps, then constant."""
    return run.optimizer["lr"] * min(1.0, (step + 1) / max(run.optimizer["warmup"], 1))


def make_optimizer(run: PlannedRun, module: Module) -> torch.optim.Optimizer:
    """The run's optimiser over the module's parameters."""
    options = {key: value for key, value in run.optimizer.items() if key not in ("name", "warmup", "betas")}
    if run.optimizer["name"] == "sgd":
        return _unguarded(torch.optim.SGD)(module.parameters(), **options)
    betas = tuple(run.optimizer["betas"])
    return _unguarded(torch.optim.AdamW)(module.parameters(), **options, betas=betas, fused=True)


def _unguarded(kind: Any) -> Any:
    """A class of torch's optimisers without what guards its methods against torch.compile: the guards import the compiler, which
    takes a second and 70 MB of every process that trains, and nothing is compiled here."""
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in _GUARDED}
    return type(kind.__name__, (kind,), {**methods, "step": torch.no_grad()(inspect.unwrap(kind.step))})
