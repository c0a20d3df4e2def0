"""What a sweep of patches asks for, checked once, and the runs that answer it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from interp.errors import InputError, unknown
from interp.hooks.activations import capture
from interp.measure.metrics import Metric, Questions, known, questions
from interp.models.handle import check_model
from interp.models.site_tensors import n_heads_at, n_keys_at, n_layers_at, read_at
from interp.models.sites import (
    BLOCK_SITES,
    DIMS,
    EXPERT_SITES,
    HEAD_SITES,
    NEURON_SITES,
    SCORE_SITES,
    check_site,
    in_stack,
)

if TYPE_CHECKING:
    from torch import Tensor

    from interp.models import Model
    from interp.types import Prompts

PATCH_SITES = tuple(site for site in BLOCK_SITES if in_stack(site)[1] not in ("attn_scores", "mlp_pre"))
AXES = ("layer", "head", "neuron", "expert", "pos", "key")
Cell = tuple[int, ...]
"""One patch: its place on each axis."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """A checked request: activations of the run on `source` go into runs on `base`. axes: name -> length, in order."""

    model: Model
    asked: Questions
    base: Tensor
    source: Tensor
    site: str
    axes: dict[str, int]

    def cells(self) -> Iterator[Cell]:
        return itertools.product(*(range(length) for length in self.axes.values()))

    def at(self, cell: Cell, axis: str) -> int | None:
        """Where the cell is on an axis; None where the sweep has no such axis."""
        return cell[list(self.axes).index(axis)] if axis in self.axes else None


@dataclass(slots=True, kw_only=True, eq=False)
class Runs:
    """The logits [prompt, answer_len, vocab] of the two runs, and of patched ones as they come: cells and [cell, prompt,
    answer_len, vocab]. Cells that never come are those whose patch changes nothing. work: positions × blocks computed."""

    base: Tensor
    source: Tensor
    patched: Iterator[tuple[Sequence[Cell], Tensor]]
    work: int = 0


def checked(model: Model, prompts: Prompts, site: str, by: tuple[str, ...], metric: Metric, direction: str) -> Sweep:
    check_model(model)
    check_site(site, model.sites)
    if site not in PATCH_SITES:
        raise unknown("site to patch", site, PATCH_SITES)
    if isinstance(metric, str):
        known(metric)
    if direction not in ("denoise", "noise"):
        raise unknown("direction", direction, ("denoise", "noise"))
    asked = questions(prompts, model)
    model = model.reading(asked.decoder)
    lengths = {"layer": n_layers_at(model, site), "pos": read_at(model, site, prompts.clean, None)[0].shape[1]}
    if site in (*HEAD_SITES, *SCORE_SITES):
        lengths["head"] = n_heads_at(model, site) or model.n_heads
    if site in SCORE_SITES:
        lengths["key"] = n_keys_at(model, site, prompts.clean)
    if site in NEURON_SITES:
        lengths["neuron"] = _width(model, prompts.clean, site, -1)
    if site in EXPERT_SITES:
        lengths["expert"] = _width(model, prompts.clean, site, DIMS[site].index("expert"))
    for axis in by:
        if axis not in AXES:
            raise unknown("axis", axis, AXES)
        if axis not in lengths:
            raise InputError(f"{site} has no axis {axis!r}; it has {', '.join(a for a in AXES if a in lengths)}")
    if len(set(by)) < len(by):
        raise InputError(f"an axis is given twice: {', '.join(by)}")
    clean, corrupt = asked.clean.to(model.device), asked.corrupt.to(model.device)
    base, source = (corrupt, clean) if direction == "denoise" else (clean, corrupt)
    axes = {axis: lengths[axis] for axis in AXES if axis in by}
    return Sweep(model=model, asked=asked, base=base, source=source, site=site, axes=axes)


def _width(model: Model, tokens: Tensor, site: str, axis: int) -> int:
    """How many neurons or experts: as many as one token shows."""
    one = model if model.decoder is None else replace(model, decoder=model.decoder[:1])
    return capture(one, tokens[:1, :1], site, layers=0)[site].shape[axis]
