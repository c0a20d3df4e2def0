"""One door to every method."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from interp import plugins
from interp.circuits._circuit import Circuit
from interp.errors import unknown

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
    found = plugins.load("circuits", method)
    chosen = dict(options or {})
    known = set(inspect.signature(found).parameters) - {"model", "prompts", "metric"}
    for name in chosen:
        if name not in known:
            raise unknown(f"option of {method}", name, known)
    return found(model, prompts, metric=metric, **chosen)
