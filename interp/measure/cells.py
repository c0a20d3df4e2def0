"""An indicator's result, cut into the rows of the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import torch

from interp.measure.needs import Indicator
from interp.types import Estimate


def blank_row(one: Indicator) -> dict[str, Any]:
    """The row of an indicator, but for its value."""
    return {
        "measure": one.name,
        "component": "",
        "position": None,
        "unit": one.unit,
        "kind": one.kind,
        "online": one.online,
        "stderr": None,
        "n": None,
    }


def cells(result: Any, dims: Sequence[str]) -> Iterator[dict[str, Any]]:
    """An indicator's result, one value at a time, under the names that the table's contract has for components.

    Raises:
        TypeError: the result is not of the shape that `dims` declares.
    """
    if isinstance(result, Mapping):
        if tuple(dims) != ("component",):
            raise TypeError(f"a dictionary was returned where DIMS is {tuple(dims)}; expected ('component',)")
        for component, value in result.items():
            yield {"component": component, **_cell(value)}
        return
    if not dims:
        yield _cell(result)
        return
    values = torch.as_tensor(result)
    if values.ndim != len(dims):
        raise TypeError(f"a tensor of shape {tuple(values.shape)} was returned where DIMS is {tuple(dims)}")
    for index in product(*map(range, values.shape)):
        yield {**_place(dict(zip(dims, index, strict=True))), **_cell(values[index])}


def _cell(value: Any) -> dict[str, Any]:
    if isinstance(value, Estimate):
        return {"value": float(value.value), "stderr": float(value.stderr), "n": int(value.n)}
    return {"value": float(value)}


def _place(index: Mapping[str, int]) -> dict[str, Any]:
    """{"layer": 2, "head": 3, "pos": 5} -> component "L2H3", position 5; a digit of the answer counts as a position."""
    component = "".join(f"{letter}{index[dim]}" for dim, letter in (("layer", "L"), ("head", "H")) if dim in index)
    return {"component": component, "position": index.get("pos", index.get("digit"))}
