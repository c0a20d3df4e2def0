"""Activation patching: what one activation of another run does to a metric, for every layer, head and position."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from interp.activations import capture
from interp.errors import InputError, unknown
from interp.metrics import Metric, Questions, evaluate, known, questions
from interp.models.borrowed import evaluating
from interp.models.places import n_heads_at
from interp.models.running import run
from interp.models.sites import HEAD_SITES, RESIDUAL_SITES, check_site
from interp.patching.result import Patched

if TYPE_CHECKING:
    from torch import Tensor

    from interp.models import Model
    from interp.types import Prompts

PATCH_SITES = (*RESIDUAL_SITES, *HEAD_SITES, "pattern", "mlp_post")
AXES = ("layer", "head", "neuron", "pos", "key")
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


def patch(
    model: Model,
    prompts: Prompts,
    *,
    site: str = "z",
    by: str | Sequence[str] = ("layer", "head"),
    metric: Metric = "logit_diff",
    direction: Literal["denoise", "noise"] = "denoise",
    road: Literal["reuse", "naive"] | None = None,
) -> Patched:
    """The metric when the activation at each layer, head and position is replaced by that of the other run, one at a time.

    site: `resid_pre`, `resid_mid`, `resid_post`, `attn_out`, `mlp_out`, `z`, `q`, `k`, `v` (before rotation; grouped heads
        share a key/value head), `pattern` or `mlp_post` (neurons).
    by: any of `layer`, `head` (of head sites and patterns), `neuron` (of `mlp_post`), `pos` (of a pattern: the query) and
        `key` (of a pattern), in this order; along an axis that is left out, all is replaced at once.
    metric: a name (`interp.metrics.METRICS`) or a function of the logits that predict the answer (`evaluate` says which).
    direction: "denoise" runs on the corrupt prompts and patches clean activations in, "noise" the other way round.
    road: None takes "reuse" where it is possible, see `Patched.road`; both give the same numbers.

    Dropout is off; the model is left as found.

    Raises:
        InputError: a site, axis or metric that does not exist (here), prompts that do not fit.
    """
    from interp.patching.reuse import can_reuse, reuse_runs

    sweep = _checked(model, prompts, site, (by,) if isinstance(by, str) else tuple(by), metric, direction)
    reusable = road != "naive" and can_reuse(sweep)
    if road == "reuse" and not reusable:
        raise InputError(f"patching {site} by {', '.join(sweep.axes) or 'nothing'} cannot reuse runs in this model")
    with torch.no_grad(), evaluating(model.module):
        runs = reuse_runs(sweep) if reusable else naive_runs(sweep)
        clean, corrupt = (runs.source, runs.base) if direction == "denoise" else (runs.base, runs.source)
        ends = evaluate(metric, torch.stack([clean, corrupt]), sweep.asked, clean)
        unpatched = ends[1] if direction == "denoise" else ends[0]
        shape = tuple(sweep.axes.values())
        values = unpatched.expand(*shape, *unpatched.shape).clone()
        for cells, logits in runs.patched:
            values[tuple(torch.tensor(cells).T)] = evaluate(metric, logits, sweep.asked, clean)
    per_prompt = values.cpu() if ends.dim() == 2 else None
    means = ends.double().mean(1) if ends.dim() == 2 else ends
    return Patched(
        values=(values if per_prompt is None else values.mean(-1)).cpu(),
        per_prompt=per_prompt,
        clean=float(means[0]),
        corrupt=float(means[1]),
        by=tuple(sweep.axes),
        coords={name: list(range(length)) for name, length in sweep.axes.items()},
        site=site,
        metric=metric if isinstance(metric, str) else getattr(metric, "__name__", "custom"),
        direction=direction,
        road="reuse" if reusable else "naive",
        passes=runs.work / (sweep.base.numel() * model.n_layers),
    )


def _checked(model: Model, prompts: Prompts, site: str, by: tuple[str, ...], metric: Metric, direction: str) -> Sweep:
    check_site(site, model.sites)
    if site not in PATCH_SITES:
        raise unknown("site to patch", site, PATCH_SITES)
    if isinstance(metric, str):
        known(metric)
    if direction not in ("denoise", "noise"):
        raise unknown("direction", direction, ("denoise", "noise"))
    asked = questions(prompts)
    n_pos = prompts.clean.shape[1]
    lengths = {"layer": model.n_layers, "pos": n_pos}
    if site in HEAD_SITES or site == "pattern":
        lengths["head"] = n_heads_at(model, site) or model.n_heads
    if site == "pattern":
        lengths["key"] = n_pos
    if site == "mlp_post":
        lengths["neuron"] = _n_neurons(model, prompts.clean)
    for axis in by:
        if axis not in AXES:
            raise unknown("axis", axis, AXES)
        if axis not in lengths:
            raise InputError(f"{site} has no axis {axis!r}; it has {', '.join(a for a in AXES if a in lengths)}")
    clean, corrupt = asked.clean.to(model.device), asked.corrupt.to(model.device)
    base, source = (corrupt, clean) if direction == "denoise" else (clean, corrupt)
    axes = {axis: lengths[axis] for axis in AXES if axis in by}
    return Sweep(model=model, asked=asked, base=base, source=source, site=site, axes=axes)


def _n_neurons(model: Model, tokens: Tensor) -> int:
    """As many as one token shows."""
    return capture(model, tokens[:1, :1], "mlp_post", layers=0)["mlp_post"].shape[-1]


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

            layers = range(model.n_layers) if layer is None else [layer]
            changes = {(sweep.site, one): [lambda x, one=one, change=change: change(x, values[one])] for one in layers}
            logits = run(model, sweep.base, mask, changes=changes, logits_at=read)
            assert logits is not None
            runs.work += whole_pass
            yield [cell], logits[None]

    runs.patched = patched()
    return runs


def _selection(sweep: Sweep, cell: Cell) -> tuple[int | slice, ...]:
    """The cell's part of a site's tensor: [prompt, pos, head or neuron, …], of a pattern [prompt, head, query, key]."""
    at = {axis: slice(None) if (i := sweep.at(cell, axis)) is None else i for axis in ("head", "neuron", "pos", "key")}
    if sweep.site == "pattern":
        return slice(None), at["head"], at["pos"], at["key"]
    if sweep.site == "mlp_post":
        return slice(None), at["pos"], at["neuron"]
    return (slice(None), at["pos"], at["head"]) if sweep.site in HEAD_SITES else (slice(None), at["pos"])
