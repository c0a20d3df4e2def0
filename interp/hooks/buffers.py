"""Where the activations of a pass are kept: one tensor a site, filled row by row as the pass comes by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from interp.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from interp.models.site_tensors import Spot


def rows_of(sites: Mapping[str, list[int]], *, apart: bool) -> dict[Spot, tuple[str, int, int]]:
    """For each spot to look at: the buffer it is kept in, its row there and how many rows the buffer has.

    The residual stream after a block is the one before the next: asked for both at neighbouring layers, it is kept once;
    unless somebody may change it between the two (`apart`).
    """
    rows: dict[Spot, tuple[str, int, int]] = {}
    layers = sites.get("resid_post") or [-1]
    n = len(layers)
    once = not apart and {"resid_pre", "resid_post"} <= set(sites) and layers == list(range(layers[0], layers[0] + n))
    for site, here in sites.items():
        for row, layer in enumerate(here):
            if once and site == "resid_pre" and row > 0:
                continue
            if once and site in ("resid_pre", "resid_post"):
                rows[site, layer] = ("stream", row + (site == "resid_post"), n + 1)
            else:
                rows[site, layer] = (site, row, len(here))
    return rows


@dataclass(slots=True, kw_only=True, eq=False)
class Buffers:
    """One tensor a site, allocated when the first of its rows comes by and filled row by row."""

    rows: Mapping[Spot, tuple[str, int, int]]
    dtype: torch.dtype | None
    device: str | torch.device | None
    filled: dict[str, Tensor] = field(default_factory=dict)
    kept: set[Spot] = field(default_factory=set)

    def keep(self, spot: Spot, pick: Callable[[Tensor], Tensor], seen: Tensor) -> None:
        name, row, n_rows = self.rows[spot]
        part = pick(seen.detach())
        buffer = self.filled.get(name)
        if buffer is None:
            dtype, device = self.dtype or part.dtype, self.device or part.device
            buffer = self.filled[name] = torch.empty((n_rows, *part.shape), dtype=dtype, device=device)
        if part.shape != buffer.shape[1:]:
            raise InputError(f"{spot[0]} has other sizes in layer {spot[1]} than before; capture its layers one by one")
        buffer[row] = part
        self.kept.add(spot)

    def cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(dtype=self.dtype, device=self.device)

    def values(self) -> dict[str, Tensor]:
        """Site -> [layer, …]. Raises InputError for a row that nothing filled: what it holds is no activation."""
        for site, layer in self.rows.keys() - self.kept:
            raise InputError(f"nothing was seen of {site} in layer {layer}: a part of the module runs it out of sight")
        found = dict(self.filled)
        stream = found.pop("stream", None)
        if stream is not None:
            found |= {"resid_pre": stream[:-1], "resid_post": stream[1:]}
        return found
