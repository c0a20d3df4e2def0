"""Skills: one file a skill. `task("modular_addition", p=59)` looks the file up and calls it with the difficulty
parameters; `fit_task` gives a skill in the tokens of one model."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from interp import plugins
from interp.errors import InputError, nearest
from interp.tasks._asked import ask_of, draw_prompts, fit_task
from interp.tasks._check import guarded
from interp.types import Task

__all__ = ["ask_of", "draw_prompts", "fit_task", "task"]


def task(name: str, **params: Any) -> Task:
    """The skill `name` (a file of this folder, or `package.module:function`) at the difficulty that `params` gives.

    What it draws is asked for in whole numbers of at least one, by whole seeds. The task of a third party's function
    is called by that function's address, whatever it calls itself, and its parameters are those of the function: by
    them it is found and made again.

    Raises:
        InputError: no such task, a parameter that the task does not have or that is missing, or a value out of its range.
    """
    build = plugins.load("tasks", name)
    signature = inspect.signature(build)
    for param in params:
        if param not in signature.parameters:
            raise InputError(f"task {name!r} has no parameter {param!r}{nearest(param, signature.parameters)}")
    missing = [n for n, p in signature.parameters.items() if p.default is p.empty and n not in params]
    if missing:
        raise InputError(f"task {name!r} needs a value for {', '.join(missing)}")
    made = build(**params)
    if not isinstance(made, Task):
        raise InputError(f"task {name!r} gave a {type(made).__name__}, not an interp.Task")
    if ":" in name:
        bound = signature.bind(**params)
        bound.apply_defaults()
        made = replace(made, name=name, params=dict(bound.arguments))
    return guarded(made)
