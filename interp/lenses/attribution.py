"""The parts of a logit difference: a record that names them, adds them up and shows itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import torch

from interp.errors import unknown
from interp.figures.text import html, number, told

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    import xarray
    from jaxtyping import Float
    from torch import Tensor

BREAKDOWNS: Mapping[str, tuple[str, ...]] = {
    "layer": ("embed", "pos_embed", "layer", "bias"),
    "component": ("embed", "pos_embed", "attn", "mlp", "bias"),
    "head": ("embed", "pos_embed", "head", "attn_bias", "mlp", "bias"),
    "neuron": ("embed", "pos_embed", "attn", "neuron", "mlp_bias", "bias"),
}
"""The parts of a logit difference under each breakdown; a part that the architecture lacks is left out."""

_DIMS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("embed", "pos_embed", "bias"), ("prompt",)),
    **dict.fromkeys(("layer", "attn", "attn_bias", "mlp", "mlp_bias"), ("layer", "prompt")),
    "head": ("layer", "head", "prompt"),
    "neuron": ("layer", "neuron", "prompt"),
}
_NAMES = {
    "layer": "L{}",
    "attn": "L{}.attn",
    "attn_bias": "L{}.attn.bias",
    "mlp": "L{}.mlp",
    "mlp_bias": "L{}.mlp.bias",
}
_NAMES |= {"head": "L{}H{}", "neuron": "L{}N{}"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Attribution(Mapping[str, "Tensor"]):
    """Part -> contributions to the logit difference, prompts last: `head` [layer, head, prompt], `mlp` [layer, prompt],
    `embed` [prompt], …. `dims(part)` names the axes.

    by: the breakdown (a key of `BREAKDOWNS`). logit_diff: what the model itself gives, prompt by prompt.
    """

    by: str
    parts: Mapping[str, Tensor]
    logit_diff: Float[Tensor, "prompt"]

    def __repr__(self) -> str:
        means = self.means()
        best = sorted(means, key=lambda name: -abs(means[name]) if means[name] == means[name] else 0)[:5]
        return told(
            f"Attribution by {self.by}: {len(means)} contributions to logit(answer) - logit(wrong), {len(self.logit_diff)} prompts",
            f"mean {number(float(self.logit_diff.nanmean()))}; largest {', '.join(f'{n} {number(means[n])}' for n in best)}",
            ".named(), .total(), .plot(), .to_pandas(), .to_xarray()",
        )

    def _repr_html_(self) -> str:
        means = sorted(self.means().items(), key=lambda item: -abs(item[1]) if item[1] == item[1] else 0)
        return html(repr(self), [{"component": name, "mean contribution": value} for name, value in means])

    def means(self) -> dict[str, float]:
        """Component -> its contribution, averaged over the prompts for which it is defined."""
        return {name: float(values.nanmean()) for name, values in self.named().items()}

    def plot(self, *, most: int = 40) -> go.Figure:
        """Mean contributions in logits, blue where they help and red where they hurt: heads as a grid of layers and heads with
        the MLP and the heads' bias beside, everything else as bars, the `most` largest ones where there are more."""
        from interp.lenses.figure import attribution_figure

        return attribution_figure(self, most)

    def to_pandas(self) -> pd.DataFrame:
        """A row a component and prompt: component, prompt, contribution (logits)."""
        import pandas as pd

        rows = {name: values.tolist() for name, values in self.named().items()}
        frame = pd.DataFrame(rows).rename_axis("prompt").reset_index()
        return frame.melt("prompt", var_name="component", value_name="contribution")[
            ["component", "prompt", "contribution"]
        ]

    def __getitem__(self, part: str) -> Tensor:
        if part not in self.parts:
            raise unknown(f"part of an attribution by {self.by}", part, self.parts)
        return self.parts[part]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def dims(self, part: str) -> tuple[str, ...]:
        """The names of the axes of a part."""
        return _DIMS[part]

    def total(self) -> Float[Tensor, "prompt"]:
        """The sum over everything: `logit_diff`, up to the precision of the model's dtype."""
        return torch.stack([part.reshape(-1, part.shape[-1]).sum(0) for part in self.parts.values()]).sum(0)

    def named(self) -> dict[str, Float[Tensor, "prompt"]]:
        """Every contribution under its component's name: embed, L2.mlp, L2H3, L2N117, L2.attn.bias, bias, …."""
        return {
            _NAMES.get(part, part).format(*index): values[index]
            for part, values in self.parts.items()
            for index in product(*map(range, values.shape[:-1]))
        }

    def to_xarray(self) -> xarray.Dataset:
        """A labelled data set with one variable a part (needs the `xarray` extra)."""
        import xarray

        arrays = {f"{part}_part" if part in _DIMS[part] else part: (_DIMS[part], self[part].numpy()) for part in self}
        return xarray.Dataset({**arrays, "logit_diff": ("prompt", self.logit_diff.numpy())}, attrs={"by": self.by})
