"""What attribution is asked: a model, pairs of prompts and a metric; and the runs it needs, in parts that memory holds.

Scores are means over prompts, so they are added up part by part, whatever the number of prompts. A metric of one's
own may look at all prompts at once: it gets them in one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from interp.circuits._graph import Graph, graph_of
from interp.circuits._proof import prove_record
from interp.circuits._quadrature import along
from interp.circuits._record import Record, record
from interp.errors import InputError, unknown
from interp.measure.metrics import Metric, Questions, evaluate, questions
from interp.models.shadowing import evaluating
from interp.models.site_tensors import mapped, part_of
from interp.models.state import is_plain
from interp.models.weights import norm
from interp.types import Prompts

if TYPE_CHECKING:
    from jaxtyping import Float

    from interp.models import Model

ABLATIONS = ("corrupt", "zero", "mean")
BUDGET = 2**27  # numbers that the runs of one part may hold: 512 MiB in float32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """A model, its graph, and what is asked: prompts cut off behind the last position read, and where they first
    differ.

    n_counted: how many prompts of the whole question have a value of the metric (a logit difference between equal
        answers has none).
    """

    model: Model
    graph: Graph
    asked: Questions
    metric: Metric
    start: int
    n_counted: int

    @property
    def n_prompts(self) -> int:
        return len(self.asked.clean)


def pair_of(model: Model, prompts: Prompts, metric: Metric = "logit_diff", *, ablation: str = "corrupt") -> Pair:
    """Checked prompts, made ready. What comes after the last position that is read cannot matter to a causal model;
    only corrupt values are those of the clean run up to the first difference.

    Raises:
        InputError: no prompts, prompts that do not fit the model, an unknown ablation.
    """
    asked = questions(prompts, model)
    if len(asked.clean) == 0:
        raise InputError("a circuit needs at least one prompt")
    if ablation not in ABLATIONS:
        raise unknown("ablation", ablation, ABLATIONS)
    start = 0
    if str(model.config.get("attention_dir", "causal")) == "causal" and _may_be_cut(model):
        stop = int(asked.read.max()) + 1
        mask = None if asked.mask is None else asked.mask[:, :stop]
        asked = replace(asked, clean=asked.clean[:, :stop], corrupt=asked.corrupt[:, :stop], mask=mask)
        differ = (asked.clean != asked.corrupt).any(0).nonzero()
        first = int(differ[0]) if len(differ) else asked.clean.shape[1] - 1
        start = first if ablation == "corrupt" else 0
    defined = asked.contrast[2] if metric == "logit_diff" else asked.answer[:, 0] >= 0
    counted = int(defined.sum())
    return Pair(model=model, graph=graph_of(model), asked=asked, metric=metric, start=start, n_counted=counted)


def _may_be_cut(model: Model) -> bool:
    """Whether a shorter prompt's positions are the longer one's: somebody's hook may count from the end, and some rotations
    depend on the length."""
    rotation = str([model.config.get(name) for name in ("rope_parameters", "rope_scaling")])
    return is_plain(model) and not any(kind in rotation for kind in ("dynamic", "longrope"))


def parts(pair: Pair, size: int | None = None) -> Iterator[tuple[slice, Pair]]:
    """(rows, the same question for these prompts), `size` at a time; by default as many as BUDGET holds."""
    size = max(1, BUDGET // numbers_of_a_prompt(pair)) if size is None else size
    if size >= pair.n_prompts or not isinstance(pair.metric, str):
        yield slice(0, pair.n_prompts), pair
        return
    asked = pair.asked
    for first in range(0, pair.n_prompts, size):
        rows = slice(first, first + size)
        sliced = {name: getattr(asked, name)[rows] for name in ("clean", "corrupt", "answer", "wrong", "read")}
        mask = None if asked.mask is None else asked.mask[rows]
        yield rows, replace(pair, asked=replace(asked, **sliced, mask=mask, prompts=choose(asked.prompts, rows)))


def numbers_of_a_prompt(pair: Pair) -> int:
    """How many numbers two runs and one with gradients hold for a prompt, about: some sixty vectors a layer and
    position, three patterns a head, the logits, and all writers' changes."""
    model, (_, n_pos) = pair.model, pair.asked.clean.shape
    layer = n_pos * (56 * model.d_model + 3 * model.n_heads * n_pos)
    changes = 2 * len(pair.graph.writers) * (n_pos - pair.start) * model.d_model
    return model.n_layers * layer + 4 * pair.asked.read.shape[1] * model.d_vocab + changes


def choose(prompts: Prompts, rows: slice | Tensor) -> Prompts:
    """These prompts, in this order."""
    clean, corrupt, answer, wrong = (t[rows] for t in (prompts.clean, prompts.corrupt, prompts.answer, prompts.wrong))
    position = prompts.position if isinstance(prompts.position, int) else prompts.position[rows]
    mask = None if prompts.mask is None else prompts.mask[rows]
    return Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=wrong, position=position, mask=mask)


def objective_of(pair: Pair, reference: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """The metric's mean over all prompts as a function of the logits: this part's share of it. Prompts without a value
    (NaN) do not count. reference: the clean run's logits, for a metric that compares with them."""
    if pair.metric == "kl" and reference is None:
        reference = run_clean(pair).logits

    def mean(logits: Tensor) -> Tensor:
        values = evaluate(pair.metric, logits[None], pair.asked, reference)[0]
        if not isinstance(pair.metric, str):
            return values.nanmean() if values.dim() else values
        return values.nansum() / pair.n_counted if pair.n_counted else values.sum()

    return mean


def run_clean(pair: Pair, *, grad: bool = False, outputs_too: bool = False) -> Record:
    """The clean run, with gradients of the mean metric if `grad`."""
    asked, objective = pair.asked, objective_of(pair) if grad else None
    kept = record(pair.model, asked.clean, asked.mask, asked.read, objective=objective, outputs_too=outputs_too)
    prove_record(pair.model, kept, asked.mask, asked.read)
    return kept


def run_corrupt(pair: Pair) -> Record:
    """The corrupt run."""
    kept = record(pair.model, pair.asked.corrupt, pair.asked.mask, pair.asked.read)
    prove_record(pair.model, kept, pair.asked.mask, pair.asked.read)
    return kept


def gradients_along(
    pair: Pair,
    path: Sequence[tuple[float | Float[Tensor, "prompt"], float]],
    rows: slice,
    start: Float[Tensor, "prompt pos *rest"],
    end: Float[Tensor, "prompt pos *rest"],
    reference: Float[Tensor, "prompt answer_len vocab"],
    *,
    spot: tuple[str, int] | None = None,
) -> Iterator[Record]:
    """Passes at the points of a path from `start` to `end`, their metric weighted by the path's weights: as many copies of the
    prompts in one pass as BUDGET holds, one point each.

    spot: the site and layer that goes along the path; by default what enters the first block. reference: the clean logits.
    """
    asked, objective = pair.asked, objective_of(pair, reference)
    at_once = max(1, BUDGET // (numbers_of_a_prompt(pair) * pair.n_prompts))
    for first in range(0, len(path), at_once):
        points = path[first : first + at_once]
        n, between = len(points), torch.cat([along(start, end, at, rows) for at, _ in points])

        def mean(logits: Tensor, points: Sequence[tuple[Any, float]] = points) -> Tensor:
            each = zip(points, logits.chunk(len(points)), strict=True)
            return torch.stack([weight * objective(of_point) for (_, weight), of_point in each]).sum()

        yield record(
            pair.model,
            asked.clean.repeat(n, 1),
            None if asked.mask is None else asked.mask.repeat(n, 1),
            asked.read.repeat(n, 1),
            objective=mean,
            embedded=between if spot is None else None,
            edits={} if spot is None else {spot: partial(_instead, between)},
        )


def _instead(value: Tensor, _: Tensor) -> Tensor:
    return value


def replaced_by(pair: Pair, ablation: str) -> Record | None:
    """What writers are replaced by, the same for all prompts (first dimension 1): nothing (`zero`), or their means over
    the corrupt runs, position by position (`mean`). None for `corrupt`: that is each prompt's own run.

    Raises:
        InputError: an unknown ablation.
    """
    if ablation not in ABLATIONS:
        raise unknown("ablation", ablation, ABLATIONS)
    if ablation == "corrupt":
        return None
    sums: list[Tensor] = []
    for _, part in parts(pair):
        run, real = run_corrupt(part), part.asked.mask
        found = [
            (t if real is None else t * _like(real, t)).sum(0, keepdim=True) for t in (run.pre[0], *run.z, *run.mlp)
        ]
        sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else found
        if ablation == "zero":
            break
    real = torch.ones_like(pair.asked.clean) if pair.asked.mask is None else pair.asked.mask
    count = real.sum(0, keepdim=True).clamp(min=1)
    fixed = [t / _like(count, t) if ablation == "mean" else torch.zeros_like(t) for t in sums]
    n_layers = pair.graph.n_layers
    kept = Record(pre=fixed[:1], z=fixed[1 : 1 + n_layers], mlp=fixed[1 + n_layers :])
    with torch.no_grad(), evaluating(pair.model.module):
        for layer in range(n_layers):
            kept.o.append(part_of(pair.model, mapped(pair.model).o, layer)(kept.z[layer].flatten(-2)))
            kept.attn.append(norm(pair.model, "ln1_post", layer)(kept.o[layer]))
    return kept


def _like(values: Tensor, x: Tensor) -> Tensor:
    """[prompt, pos] values against x of more dimensions."""
    return values.to(x.device, x.dtype).view(*values.shape, *[1] * (x.dim() - 2))
