"""One door to every method."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from interp import plugins
from interp.circuits._circuit import Circuit
from interp.errors import unknown
from interp.measure.metrics import check_prompts
from interp.models.handle import check_model

if TYPE_CHECKING:
    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


def find_circuit(
    model: Model,
    prompts: Prompts,
    method: str = "eap-ig",
    metric: Metric = "logit_diff",
    *,
    options: Mapping[str, Any] | None = None,
) -> Circuit:
    """Score a model's edges (or nodes) by a method: a file of `interp/circuits/`, or `package.module:function`.

    metric: a name (`interp.measure.metrics.METRICS`) or a function of the logits at the answer.
    options: the method's own arguments, as its docstring has them.

    Raises:
        InputError: an unknown method or option, prompts that do not fit.
    """
    check_model(model)
    check_prompts(prompts)
    found = plugins.load("circuits", method)
    chosen = dict(options or {})
    known = set(inspect.signature(found).parameters) - {"model", "prompts", "metric"}
    for name in chosen:
        if name not in known:
            raise unknown(f"option of {method}", name, known)
    import torch

    with torch.inference_mode(False):  # methods follow gradients, whatever the caller's mode
        return found(model, _for_gradients(prompts), metric=metric, **chosen)


def _for_gradients(prompts: Prompts) -> Prompts:
    """The prompts with copies of what was made under inference_mode, which autograd refuses to keep."""
    fields = {field.name: getattr(prompts, field.name) for field in dataclasses.fields(prompts)}
    made_there = {name: value for name, value in fields.items() if getattr(value, "is_inference", bool)()}
    return dataclasses.replace(prompts, **{name: value.clone() for name, value in made_there.items()})
