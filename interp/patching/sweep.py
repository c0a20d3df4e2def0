"""Activation patching: what one activation of another run does to a metric, for every layer, head and position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch

from interp.errors import InputError
from interp.measure.metrics import Metric, evaluate
from interp.models.shadowing import evaluating
from interp.patching.fast.reuse import can_reuse, reuse_runs
from interp.patching.naive import naive_runs
from interp.patching.request import checked
from interp.patching.result import Patched

if TYPE_CHECKING:
    from interp.models import Model
    from interp.types import Prompts


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
        share a key/value head), `pattern`, `mlp_post` (neurons),
        or, of a mixture of experts `router_logits`, `expert_weights`, `expert_out`.
    by: any of `layer`, `head` (of head sites and patterns), `neuron` (of `mlp_post`), `expert`, `pos` (of a pattern: the
        query) and `key` (of a pattern), in any order, which is that of the result's axes; along an axis that is left out, all
        is replaced at once.
    metric: a name (`interp.measure.metrics.METRICS`) or a function of the logits that predict the answer (`evaluate` says which).
    direction: "denoise" runs on the corrupt prompts and patches clean activations in, "noise" the other way round.
    road: None takes "reuse" where it is possible, see `Patched.road`; both give the same numbers.

    Dropout is off; the model is left as found.

    Raises:
        InputError: a site, axis or metric that does not exist (here), prompts that do not fit.
    """
    axes = (by,) if isinstance(by, str) else tuple(by)
    sweep = checked(model, prompts, site, axes, metric, direction)
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
    order = [list(sweep.axes).index(axis) for axis in axes]  # sweeps go in an order of their own
    values = values.permute(*order, *range(len(order), values.dim()))
    per_prompt = values.cpu() if ends.dim() == 2 else None
    means = ends.double().mean(1) if ends.dim() == 2 else ends
    return Patched(
        values=(values if per_prompt is None else values.mean(-1)).cpu(),
        per_prompt=per_prompt,
        clean=float(means[0]),
        corrupt=float(means[1]),
        by=axes,
        coords={name: list(range(sweep.axes[name])) for name in axes},
        site=site,
        metric=metric if isinstance(metric, str) else getattr(metric, "__name__", "custom"),
        direction=direction,
        road="reuse" if reusable else "naive",
        passes=runs.work / (sweep.base.numel() * model.n_layers),
    )
