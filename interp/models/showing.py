"""A model in a few lines, as a table of its parameters, and as a figure of their sizes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.figures.text import number, told

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


_BLOCK = re.compile(r"^(?P<stack>.*?)\.(?P<block>\d+)\.(?P<rest>.+)$")


def line(model: Any) -> str:
    """What a model says of itself: architecture, shape, size, where it is, and which checkpoint's weights it holds."""
    sizes = [p.numel() for p in model.module.parameters()]
    first = next(iter(model.module.parameters()), None)
    where = "" if first is None else f", {str(first.dtype).removeprefix('torch.')} on {first.device}"
    ref = model.ref
    held = "" if ref is None else f"weights of {ref.address}"
    road = (
        "a module of one's own, without a map"
        if model.opaque
        else ""
        if model.sites
        else "no map of sites: the bridge serves"
    )
    return told(
        f"Model {model.config.get('architecture', type(model.module).__name__)}: {number(sum(sizes))} parameters{where}",
        _shape(model),
        held,
        road,
    )


def _shape(model: Any) -> str:
    names = ("n_layers", "n_heads", "d_model", "n_ctx", "d_vocab")
    found = []
    for name in names:
        try:
            found.append(f"{name} {getattr(model, name)}")
        except (AttributeError, KeyError, TypeError, ValueError):  # a module of one's own need not say
            continue
    return ", ".join(found)


def parameters(model: Any) -> pd.DataFrame:
    """What `Model.to_pandas` gives."""
    import pandas as pd

    rows = [
        {
            "name": name,
            "shape": tuple(p.shape),
            "n": p.numel(),
            "rms": float(p.detach().double().square().mean().sqrt()) if p.is_floating_point() else np.nan,
            "dtype": str(p.dtype).removeprefix("torch."),
        }
        for name, p in model.module.named_parameters()
    ]
    return pd.DataFrame(rows, columns=["name", "shape", "n", "rms", "dtype"])


def figure(model: Any) -> go.Figure:
    """What `Model.plot` draws."""
    from interp.figures import grids, plots

    rms = dict(zip(*(parameters(model)[name] for name in ("name", "rms")), strict=True))
    found = {name: _BLOCK.match(name) for name in rms}
    in_blocks = {name: match for name, match in found.items() if match}
    title, unit = "Size of the weights", "root mean square"
    if not in_blocks:
        return plots.bars(list(rms), {"": list(rms.values())}, title=title, unit=unit)
    stacks = {match["stack"] for match in in_blocks.values()}
    label = {name: m["block"] if len(stacks) == 1 else f"{m['stack']} {m['block']}" for name, m in in_blocks.items()}
    rows = list(dict.fromkeys(label.values()))
    columns = list(dict.fromkeys(match["rest"] for match in in_blocks.values()))
    grid = np.full((len(rows), len(columns)), np.nan)
    for name, match in in_blocks.items():
        grid[rows.index(label[name]), columns.index(match["rest"])] = rms[name]
    return grids.heatmap(grid, rows, columns, title=title, row_title="block", column_title="parameter", unit=unit)
