"""What is known of a model at one checkpoint, gathered once and served to every indicator.

`observe` runs one forward pass over the prompts (and one backward pass, and one pass over a split, only where an
indicator asks for it); `measure` hands each indicator a view that holds what its NEEDS name, and nothing else: an
online indicator cannot see the end of the run by accident. `interp.measure.needs` says what NEEDS may name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from interp import seeds
from interp.errors import InputError, nearest
from interp.measure.cells import blank_row, cells
from interp.measure.needs import QUESTION, SPLITS, Indicator, Measure, Need, indicator, named, needs_of
from interp.measure.passes import N_TOKENS, at_answer, run_passes
from interp.measure.scoring import columns
from interp.models.running import evaluating

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Generator, Tensor

    from interp.models import Model, Sites
    from interp.types import Batch, Example, Prompts, Task


@dataclass(kw_only=True, eq=False)
class Observation:
    """One checkpoint, seen through one task. Everything kept of the passes is on the CPU.

    needs, kept: what NEEDS asked for, and that, under NEEDS' own keys; read it with `obs["resid_post"]`,
        `obs["train.logits"]`. Shapes: sites as in `interp.capture` ("answer" drops the position axis of the residual
        stream and heads, and the query axis of a pattern; sites of a split are [layer, scored, …]); "logits"
        [prompt, answer_len, vocab]; "train.logits" [scored, vocab].
    splits: the inputs of the task's training and test splits, as the run was trained on them.
    rng: randomness of this indicator alone, so that no other measure changes its bits.
    interventions: under which the checkpoint's last step was taken, as its manifest has them; the passes are without.
    passes: what the indicator spent on passes of its own, in forward passes over the prompts; add to it with `spend`.
    """

    model: Model
    task: Task
    prompts: Prompts
    splits: Mapping[str, Batch]
    rng: Generator
    needs: Mapping[str, Need]
    kept: Mapping[str, Any] = field(repr=False)
    previous: Observation | None = None
    window: tuple[Observation, ...] = ()
    initial: Observation | None = None
    final: Observation | None = None
    circuit: Any = None
    reference: Any = None
    interventions: Sequence[Mapping[str, Any]] = ()
    passes: float = 0.0

    def __getitem__(self, need: str) -> Any:
        if need not in self.kept:
            if need.startswith(f"{QUESTION}."):  # a task without questions has no score of them
                return None
            raise InputError(f"{need!r} was not kept of the passes; name it in NEEDS{nearest(need, self.kept)}")
        return self.kept[need]

    @property
    def logits(self) -> Float[Tensor, "prompt vocab"]:
        """The logits that predict the first answer token."""
        return self["logits"][:, 0]

    @property
    def answers(self) -> Int[Tensor, "prompt answer_len"]:
        """The right answer's tokens, -1 after the last."""
        return columns(self.prompts.answer)

    @property
    def wrong_answers(self) -> Int[Tensor, "prompt answer_len"]:
        """The wrong answer's tokens, as wide as `answers` (-1 after the last)."""
        wrong, width = columns(self.prompts.wrong), self.answers.shape[1]
        return torch.nn.functional.pad(wrong, (0, max(0, width - wrong.shape[1])), value=-1)[:, :width]

    @property
    def mask(self) -> Bool[Tensor, "prompt pos"]:
        """True where the prompt has a token."""
        given = self.prompts.mask
        return torch.ones_like(self.prompts.clean, dtype=torch.bool) if given is None else given

    @property
    def sites(self) -> Sites:
        """Where the architecture keeps its weights.

        Raises:
            InputError: the architecture has no map of sites.
        """
        if self.model.sites is None:
            raise InputError(f"{self.model.config['architecture']} has no map of where its weights are")
        return self.model.sites

    @property
    def has_mlp(self) -> bool:
        return self.model.sites is None or self.model.sites.mlp is not None

    @property
    def examples(self) -> tuple[Example, ...]:
        """The questions that the model is asked."""
        return () if self.task.text is None else self.task.text.examples

    def targets(self, split: str) -> Int[Tensor, "scored"]:
        """The tokens that `obs["train.logits"]` (or test) should predict, position by position."""
        targets = self.splits[split].targets
        return targets[targets >= 0]

    def spend(self, n_tokens: int, *, forward: int = 1, backward: int = 0) -> None:
        """Count passes of one's own over `n_tokens` tokens; a backward pass costs two forward passes."""
        self.passes += (forward + 2 * backward) * n_tokens / self.prompts.clean.numel()


def observe(
    model: Model,
    task: Task,
    prompts: Prompts,
    splits: Mapping[str, Batch],
    needs: Sequence[Need],
    rng: Generator,
    *,
    previous: Observation | None = None,
    window: Sequence[Observation] = (),
    initial: Observation | None = None,
    final: Observation | None = None,
    circuit: Any = None,
    reference: Any = None,
    interventions: Sequence[Mapping[str, Any]] = (),
) -> Observation:
    """Run the shared passes and keep what `needs` (see `needs_of`) names. The model is left as found.

    rng: its seed gives every indicator a stream of its own; no numbers are drawn from it.
    previous, window, initial, final: observations of the same run, made with the same needs. They may have been made with
        this very model before its weights were swapped: what they kept are copies, and their model is not looked at
        again.
    """
    kept = run_passes(model, prompts, splits, needs, task, seeds.generator(rng.initial_seed(), "questions"))
    return Observation(
        model=model,
        task=task,
        prompts=prompts,
        splits=splits,
        rng=rng,
        needs={need.name: need for need in needs},
        kept=kept,
        circuit=circuit,
        reference=reference,
        interventions=interventions,
        previous=_alone(previous),
        window=tuple(filter(None, map(_alone, window))),
        initial=_alone(initial),
        final=_alone(final),
    )


def measure(obs: Observation, measures: Sequence[Measure]) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """The value of every indicator at this checkpoint, and what failed.

    Returns:
        rows: one a value: measure, component ("", "L2", "L2H3", …), position (None or a number), value (NaN where not
            defined), stderr and n (None where the value is not a mean over examples), unit, kind, online, and cost:
            what the indicator costs when it is measured alone, in forward passes over the prompts.
        failures: one an indicator that raised: measure, error. The others are not affected.
    """
    rows: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    chosen = [(indicator(name, params), params) for name, params in map(named, measures)]
    with evaluating(obs.model.module), torch.no_grad():
        for one, params in chosen:
            for group in _groups(obs, one):
                view = _view(obs, one, params, group)
                try:
                    values = list(cells(one.function(view, **params), one.dims))
                except Exception as error:
                    failures.append({"measure": one.name, "error": f"{type(error).__name__}: {error}"})
                    break
                cost = shared_cost(obs, one.needs) + view.passes
                rows += [{**blank_row(one), **value, "cost": cost, "group": group} for value in values]
    return rows, failures


def _groups(obs: Observation, one: Indicator) -> tuple[str, ...]:
    """All the questions (""), and each group of them where the indicator is a mean over questions that have it."""
    from interp.measure.summary import groups_of

    scored = [need for need in one.needs if need.on == "questions" and obs[need.name] is not None]
    return ("", *groups_of(obs.examples)) if scored and not one.dims else ("",)


def _view(obs: Observation, one: Indicator, params: Mapping[str, Any], group: str) -> Observation:
    """What the indicator may see: its own needs, at its own positions, the questions of a group, and a random stream
    of its own."""
    labels = (one.name, *(f"{key}={params[key]}" for key in sorted(params)))

    def beside(when: str, other: Observation | None) -> Observation | None:
        if other is None or not one.wants(when):
            return None
        return replace(other, kept=_kept(other, one.needs), circuit=other.circuit if one.wants("circuit") else None)

    return replace(
        obs,
        kept=_of_group(obs, _kept(obs, one.needs), group),
        rng=seeds.generator(obs.rng.initial_seed(), *labels),
        passes=0.0,
        previous=beside("previous", obs.previous),
        window=tuple(filter(None, (beside("window", other) for other in obs.window))),
        initial=beside("initial", obs.initial),
        final=beside("final", obs.final),
        circuit=obs.circuit if one.wants("circuit") else None,
        reference=obs.reference if one.wants("reference") else None,
    )


def trimmed(obs: Observation, measures: Sequence[Measure]) -> Observation:
    """What `measures` need of an observation, without what it was compared with: to be kept for later checkpoints."""
    names = {need.name for need in needs_of(measures)}
    kept = {name: value for name, value in obs.kept.items() if name in names or name not in obs.needs}
    return replace(obs, kept=kept, previous=None, window=(), initial=None, final=None, circuit=None, reference=None)


def _alone(other: Observation | None) -> Observation | None:
    """Without what it was compared with, so that a run's observations do not hold each other in memory."""
    return None if other is None else replace(other, previous=None, window=(), initial=None, final=None)


def _kept(obs: Observation, needs: Sequence[Need]) -> dict[str, Any]:
    """What `needs` names, at the answer position where every position was kept for the sake of another indicator."""
    kept = {}
    for need in needs:
        if need.on == "beside":
            continue
        value, of_all = obs[need.name], obs.needs.get(need.name)
        narrow = (
            need.positions == "answer" and of_all is not None and of_all.positions == "all" and need.what != "logits"
        )
        kept[need.name] = at_answer(value, need, obs.prompts) if narrow else value
    return kept


def _of_group(obs: Observation, kept: dict[str, Any], group: str) -> dict[str, Any]:
    """What was kept, with the scores of the group's questions only."""
    from interp.measure.summary import in_group

    if not group:
        return kept
    here = in_group(obs.examples, group)
    scores = [name for name, value in kept.items() if value is not None and obs.needs[name].on == "questions"]
    return {**kept, **{name: kept[name][here] for name in scores}}


def shared_cost(obs: Observation, needs: Sequence[Need]) -> float:
    """Forward passes over the prompts that an indicator with these needs costs alone."""
    asked = any(need.on == "questions" for need in needs)
    cost = obs.kept.get(N_TOKENS, 0) / obs.prompts.clean.numel() if asked else 0.0
    for part in ("prompts", *SPLITS):
        met = [need for need in needs if need.on == part]
        passes = (1 if met else 0) + (2 if any(need.gradient for need in met) else 0)
        tokens = obs.splits[part].tokens if met and part in SPLITS else obs.prompts.clean
        cost += passes * tokens.numel() / obs.prompts.clean.numel()
    return cost
