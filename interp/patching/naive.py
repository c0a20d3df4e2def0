"""The naive road of a sweep: one whole forward pass a patch. The reference that the fast road is held against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from interp.hooks.activations import capture
from interp.models.running import run
from interp.models.site_tensors import n_layers_at
from interp.models.sites import EXPERT_SITES, HEAD_SITES, NEURON_SITES, SCORE_SITES
from interp.patching.request import AXES, Cell, Runs, Sweep

if TYPE_CHECKING:
    from torch import Tensor


def naive_runs(sweep: Sweep) -> Runs:
    """Every patch as a whole forward pass."""
    model, mask, read = sweep.model, sweep.asked.mask, sweep.asked.read
    found = capture(model, sweep.source, (sweep.site, "logits"), mask=mask, logits_at=read)
    values = found[sweep.site]
    base = run(model, sweep.base, mask, logits_at=read)
    assert base is not None
    runs = Runs(base=base, source=found["logits"][0], patched=iter(()))
    whole_pass = sweep.base.numel() * model.n_layers
    runs.work = 2 * whole_pass

    def patched() -> Iterator[tuple[list[Cell], Tensor]]:
        for cell in sweep.cells():
            layer = sweep.at(cell, "layer")
            where = _selection(sweep, cell)

            def change(x: Tensor, values: Tensor, where: tuple[int | slice, ...] = where) -> None:
                x[where] = values[where]

            layers = range(n_layers_at(model, sweep.site)) if layer is None else [layer]
            changes = {(sweep.site, one): [lambda x, one=one, change=change: change(x, values[one])] for one in layers}
            logits = run(model, sweep.base, mask, changes=changes, logits_at=read)
            assert logits is not None
            runs.work += whole_pass
            yield [cell], logits[None]

    runs.patched = patched()
    return runs


def _selection(sweep: Sweep, cell: Cell) -> tuple[int | slice, ...]:
    """The cell's part of a site's tensor: [prompt, pos, head or neuron, …], of a pattern [prompt, head, query, key]."""
    at = {axis: slice(None) if (i := sweep.at(cell, axis)) is None else i for axis in AXES}
    if sweep.site in SCORE_SITES:
        return slice(None), at["head"], at["pos"], at["key"]
    if sweep.site in EXPERT_SITES:
        return slice(None), at["pos"], at["expert"]
    if sweep.site in NEURON_SITES:
        return slice(None), at["pos"], at["neuron"]
    return (slice(None), at["pos"], at["head"]) if sweep.site in HEAD_SITES else (slice(None), at["pos"])
