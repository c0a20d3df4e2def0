"""A `Recorder` inside of somebody else's training loop: transformers' Trainer, and Lightning's."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from interp.errors import InputError

if TYPE_CHECKING:
    from torch import nn
    from transformers import TrainerCallback

    from interp.engine.recorder import Recorder


def trainer_callback(recorder: Recorder, *, every: int) -> TrainerCallback:
    """The callback that records a Trainer's model before its first step, at every `every`-th optimiser step and at the last:
    `Trainer(…, callbacks=[interp.trainer_callback(recorder, every=100)])`.

    A recorder without a budget takes the Trainer's planned number of steps. Steps are optimiser steps (`global_step`); of
    several processes the first records.

    Raises:
        InputError: `every` is not a whole number of at least one; a Trainer that plans other steps than the recorder's budget.
    """
    from transformers import TrainerCallback

    _check_every(every)

    class Recording(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            _take_budget(recorder, state.max_steps)
            self._record(state, model)

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if state.global_step % every == 0 or state.global_step == state.max_steps:
                self._record(state, model)

        def _record(self, state: Any, model: Any) -> None:
            if state.is_world_process_zero:
                recorder(model, state.global_step)

    return Recording()


def lightning_callback(recorder: Recorder, *, every: int, model: Callable[[Any], nn.Module] | None = None) -> Any:
    """The callback that records a LightningModule before its first step, at every `every`-th optimiser step and at the last:
    `Trainer(…, callbacks=[interp.lightning_callback(recorder, every=100)])`, of `lightning` or `pytorch_lightning`.

    model: gives the part that maps tokens to logits, as in `lambda module: module.model`; by default the LightningModule.

    A recorder without a budget takes `max_steps`, or the steps that `max_epochs` comes to. Steps are those of
    `trainer.global_step`, which counts every optimiser's; batches that are only accumulated are none. Of several processes the
    first records.

    Raises:
        InputError: neither package is installed; `every` is not a whole number of at least one; a Trainer that plans other
            steps than the recorder's budget.
    """
    _check_every(every)

    class Recording(_lightning().Callback):  # type: ignore[misc]
        last = -1

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            planned = trainer.max_steps if trainer.max_steps > 0 else trainer.estimated_stepping_batches
            _take_budget(recorder, int(planned) if planned < float("inf") else 0)
            self._record(trainer, pl_module)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step % every == 0:
                self._record(trainer, pl_module)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self._record(trainer, pl_module)

        def _record(self, trainer: Any, pl_module: Any) -> None:
            if trainer.is_global_zero and trainer.global_step != self.last:
                self.last = trainer.global_step
                recorder(pl_module if model is None else model(pl_module), trainer.global_step)

    return Recording()


def _lightning() -> Any:
    """The package whose Trainer is in use: the one that is loaded, else the one that is installed."""
    names = ("lightning.pytorch", "pytorch_lightning")
    for name in sorted(names, key=lambda name: name not in sys.modules):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise InputError("a Lightning callback needs the package: pip install lightning")


def _check_every(every: int) -> None:
    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        raise InputError(f"every is {every!r}; expected a whole number of steps, at least 1")


def _take_budget(recorder: Recorder, planned: int) -> None:
    """The recorder's planned number of steps is the Trainer's (0 or less: it has none)."""
    if recorder.about["budget"] is None:
        recorder.about["budget"] = planned if planned > 0 else None
    elif planned > 0 and planned != recorder.about["budget"]:
        raise InputError(f"the Trainer plans {planned} steps, the recorder's budget is {recorder.about['budget']}")
