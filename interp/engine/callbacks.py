"""A `Recorder` inside of somebody else's training loop: transformers' Trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interp.errors import InputError

if TYPE_CHECKING:
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

    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        raise InputError(f"every is {every!r}; expected a whole number of steps, at least 1")

    class Recording(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            planned = state.max_steps if state.max_steps > 0 else None
            if recorder.about["budget"] is None:
                recorder.about["budget"] = planned
            elif planned not in (None, recorder.about["budget"]):
                raise InputError(
                    f"the Trainer plans {planned} steps, the recorder's budget is {recorder.about['budget']}"
                )
            self._record(state, model)

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if state.global_step % every == 0 or state.global_step == state.max_steps:
                self._record(state, model)

        def _record(self, state: Any, model: Any) -> None:
            if state.is_world_process_zero:
                recorder(model, state.global_step)

    return Recording()
