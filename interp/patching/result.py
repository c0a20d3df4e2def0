"""What a sweep of patches found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from interp.figures.text import html, number, told

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    import xarray
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Patched:
    """A metric under each of many patches.

    values: over `by`, the metric averaged over prompts, as it is.
    per_prompt: over `by` and prompts; None where the metric gives one number for all prompts.
    clean, corrupt: the metric of the two runs without a patch.
    coords: what is on each axis of `by`.
    road: "reuse" where what a patch cannot change was computed once, "naive" where every patch was a whole forward pass.
    passes: what it cost, in forward passes over the prompts (all positions), counted in token positions per block.
    """

    values: Float[Tensor, "*by"]
    per_prompt: Float[Tensor, "*by prompt"] | None
    clean: float
    corrupt: float
    by: tuple[str, ...]
    coords: Mapping[str, list[int]]
    site: str
    metric: str
    direction: Literal["denoise", "noise"]
    road: Literal["reuse", "naive"]
    passes: float

    def __repr__(self) -> str:
        shape = " × ".join(f"{len(self.coords[name])} {name}" for name in self.by)
        flat = self.normalised().flatten()
        shown = flat[~flat.isnan()]
        moved = f"normalised from {number(float(shown.min()))} to {number(float(shown.max()))}" if len(shown) else ""
        return told(
            f"Patched: {self.site} by {shape or 'nothing'}, {self.metric}, {self.direction}",
            f"clean {number(self.clean)}, corrupt {number(self.corrupt)}; {moved or 'normalised nowhere defined'}",
            f"cost {number(self.passes)} forward passes ({self.road}); .values, .normalised(), .plot(), .to_pandas(), .to_xarray()",
        )

    def _repr_html_(self) -> str:
        frame = self.to_pandas()
        order = (frame["value"] - (self.corrupt if self.direction == "denoise" else self.clean)).abs()
        return html(repr(self), frame.loc[order.sort_values(ascending=False).index].to_dict("records"))

    def plot(self, *, normalised: bool = False) -> go.Figure:
        """The values over the axes patched: a bar each over one axis, a grid over two, a grid with layers and heads as rows
        over three. Colours have a sign about the run that is patched into: the corrupt one's metric (or 0) where `direction`
        is "denoise", the clean one's (or 1) for "noise".

        normalised: on the scale where the corrupt run is 0 and the clean run 1.
        """
        from interp.patching.figure import patched_figure

        return patched_figure(self, normalised=normalised)

    def to_pandas(self) -> pd.DataFrame:
        """A row a patch: a column for each of `by`, `value` and `normalised`."""
        import pandas as pd

        index = pd.MultiIndex.from_product([self.coords[name] for name in self.by], names=self.by) if self.by else [0]
        numbers = {"value": self.values, "normalised": self.normalised()}
        frame = pd.DataFrame({name: tensor.flatten().numpy() for name, tensor in numbers.items()}, index=index)
        return frame.reset_index(drop=not self.by)

    def normalised(self) -> Float[Tensor, "*by"]:
        """The values on a scale where the corrupt run is 0 and the clean run 1; NaN where the two do not differ."""
        span = self.clean - self.corrupt
        if span == 0:
            return torch.full_like(self.values, torch.nan)
        return (self.values - self.corrupt) / span

    def to_xarray(self) -> xarray.Dataset:
        """`values` and `per_prompt` as a labelled data set (needs the `xarray` extra)."""
        import xarray

        arrays = {"values": (self.by, self.values.numpy())}
        if self.per_prompt is not None:
            arrays["per_prompt"] = ((*self.by, "prompt"), self.per_prompt.numpy())
        about = {
            name: getattr(self, name) for name in ("site", "metric", "direction", "clean", "corrupt", "road", "passes")
        }
        return xarray.Dataset(arrays, coords=dict(self.coords), attrs=about)
