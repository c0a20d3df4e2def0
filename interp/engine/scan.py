"""A scan for surprises: a skill over a grid of its difficulty parameters, so that jumps nobody named are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from interp.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPoint:
    """One cell of the grid: the task's name and all its parameters, and a label that names only those that vary."""

    name: str
    params: Mapping[str, Any]
    label: str


def scan(name: str, grid: Mapping[str, Sequence[Any] | Any], *, skip_invalid: bool = False) -> list[ScanPoint]:
    """Every combination of the values listed in `grid`; what is not a list or tuple stays the same in all of them.

    Each point is checked by making its task. Labels read `addition[n_digits=3,order=plain]`, parameters in the grid's
    order.

    Args:
        skip_invalid: leave out combinations that the task does not allow (composites of more than one digit, say)
            instead of refusing the whole grid.

    Raises:
        InputError: an unknown task or parameter, an empty list, a combination that the task refuses, or none that it
            allows.
    """
    from interp.tasks import task

    varying = {key: list(value) for key, value in grid.items() if isinstance(value, list | tuple)}
    for key, values in varying.items():
        if not values:
            raise InputError(f"scan of {name}: parameter {key!r} has no values")
    points, refused = [], []
    for cell in product(*varying.values()):
        chosen = dict(zip(varying, cell, strict=True))
        params = {key: chosen.get(key, value) for key, value in grid.items()}
        try:
            task(name, **params)
        except InputError as error:
            if not skip_invalid:
                raise
            refused.append(str(error))
            continue
        label = ",".join(f"{key}={value}" for key, value in chosen.items())
        points.append(ScanPoint(name=name, params=params, label=f"{name}[{label}]" if label else name))
    if not points:
        raise InputError(f"scan of {name}: no combination is allowed ({refused[0]})")
    return points
