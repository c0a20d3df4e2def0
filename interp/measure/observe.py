"""What is known of a model at one checkpoint, gathered once and served to every indicator.

`observe` runs one forward pass over the prompts (and one backward pass, and one pass over a split, only where an
indicator asks for it); `measure` hands each indicator a view that holds what its NEEDS name, and nothing else: an
online indicator cannot see the end of the run by accident.

An indicator is a file `interp/indicators/<name>.py` that defines a function `<name>(obs, *, parameter=default, …)`,
which returns a number, a tensor, an `Estimate` or a dictionary component -> number, and these constants:

    NEEDS   what the indicator reads, and where: {"resid_post": "answer"}. "answer" keeps the position that predicts the
            first answer token, "all" every position. The keys:
            site          of `interp.capture`, on the prompts
            site.grad     the gradient there of the negative log-probability of each prompt's first answer token
            logits        on the prompts: those that predict each token of the answer ("answer")
            train.site, test.site   a site, or logits, on a split of the task, at its scored positions ("answer")
            weights       a copy of the parameters, by their names in the module ("all")
            previous, initial, final   the observation ("all"), with the same NEEDS, of the previous checkpoint of the
                          run's stored schedule, of step 0, or of the last one (hindsight measures only), or None
            circuit       the circuit found at this checkpoint ("all"), or None
            asked.NAME    the score NAME of `interp.measure.questions.ask` of each question that a text task lists ("all"), or
                          None where it lists none, or none that has it
            reference     the circuit found at a checkpoint of another run ("all"), the same for all runs; None in the
                          run that it comes from, where it would be hindsight
    DIMS    what the axes of a tensor are, out of "layer", "head", "pos", "digit"; () for a number; ("component",) for
            a dictionary
    UNIT    the unit of the value
    ONLINE  False where the value uses anything that comes after the checkpoint
    KIND    "behaviour" or, by default, "indicator"
    COST    the class of its cost, where it runs passes of its own: "forward", "backward" (some of them) or "many"
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from interp import plugins, seeds
from interp.errors import InputError, nearest, unknown
from interp.measure.passes import ASKED, BESIDE, SPLITS, at_answer, run_passes
from interp.models.running import evaluating
from interp.types import Estimate

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Generator, Tensor

    from interp.models import Model, Sites
    from interp.types import Batch, Example, Prompts, Task

Measure = str | tuple[str, Mapping[str, Any]]
"""An indicator's name, or its name and parameters."""


@dataclass(kw_only=True, eq=False)
class Observation:
    """One checkpoint, seen through one task. Everything kept of the passes is on the CPU.

    needs, kept: what NEEDS asked for, and that, under NEEDS' own keys; read it with `obs["resid_post"]`,
        `obs["train.logits"]`. Shapes: sites as in `interp.capture` ("answer" drops the position axis of the residual
        stream and heads, and the query axis of a pattern; sites of a split are [layer, scored, …]); "logits"
        [prompt, answer_len, vocab]; "train.logits" [scored, vocab].
    splits: the inputs of the task's training and test splits, as the run was trained on them.
    rng: randomness of this indicator alone, so that no other measure changes its bits.
    passes: what the indicator spent on passes of its own, in forward passes over the prompts; add to it with `spend`.
    """

    model: Model
    task: Task
    prompts: Prompts
    splits: Mapping[str, Batch]
    rng: Generator
    needs: Mapping[str, str]
    kept: Mapping[str, Any] = field(repr=False)
    previous: Observation | None = None
    initial: Observation | None = None
    final: Observation | None = None
    circuit: Any = None
    reference: Any = None
    passes: float = 0.0

    def __getitem__(self, need: str) -> Any:
        if need not in self.kept:
            if need.startswith(ASKED):
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
        return _columns(self.prompts.answer)

    @property
    def wrong_answers(self) -> Int[Tensor, "prompt answer_len"]:
        """The wrong answer's tokens, as wide as `answers` (-1 after the last)."""
        wrong, width = _columns(self.prompts.wrong), self.answers.shape[1]
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
    needs: Mapping[str, str],
    rng: Generator,
    *,
    previous: Observation | None = None,
    initial: Observation | None = None,
    final: Observation | None = None,
    circuit: Any = None,
    reference: Any = None,
) -> Observation:
    """Run the shared passes and keep what `needs` (see `needs_of`) names. The model is left as found.

    rng: its seed gives every indicator a stream of its own; no numbers are drawn from it.
    previous, initial, final: observations of the same run, made with the same needs. They may have been made with
        this very model before its weights were swapped: what they kept are copies, and their model is not looked at
        again.
    """
    kept = run_passes(model, prompts, splits, needs, task, seeds.generator(rng.initial_seed(), "asked"))
    return Observation(
        model=model,
        task=task,
        prompts=prompts,
        splits=splits,
        rng=rng,
        needs=dict(needs),
        kept=kept,
        circuit=circuit,
        reference=reference,
        previous=_alone(previous),
        initial=_alone(initial),
        final=_alone(final),
    )


def needs_of(measures: Iterable[Measure]) -> dict[str, str]:
    """The NEEDS of all the measures together: what `observe` must keep for them.

    Raises:
        InputError: an unknown indicator or parameter.
    """
    needs: dict[str, str] = {}
    for name, params in map(_named, measures):
        for need, positions in _indicator(name, params).NEEDS.items():
            needs[need] = "all" if "all" in (positions, needs.get(need)) else positions
    return needs


def sites_of(needs: Iterable[str]) -> list[str]:
    """Of some needs, the sites within the model: not its logits and weights, nor what is asked of it or lies beside it."""
    outside = ("logits", "weights", *BESIDE)
    named = [need.removesuffix(".grad").rpartition(".")[2] for need in needs if not need.startswith(ASKED)]
    return [site for site in named if site not in outside]


def cost_class(name: str) -> str:
    """What an indicator costs: "weights" (no pass), "forward", "backward", or "many" passes (tens to thousands)."""
    module = plugins.module("indicators", name)
    needs = [need for need in module.NEEDS if need not in (*BESIDE, "weights")]
    derived = "backward" if any(need.endswith(".grad") for need in needs) else "forward" if needs else "weights"
    return getattr(module, "COST", derived)


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
    named = [_named(entry) for entry in measures]
    modules = [_indicator(name, params) for name, params in named]
    with evaluating(obs.model.module), torch.no_grad():
        for (name, params), module in zip(named, modules, strict=True):
            for group in _groups(obs, module):
                view = _view(obs, module, name, params, group)
                try:
                    result = plugins.load("indicators", name)(view, **params)
                    values = list(_values(result, module.DIMS))
                except Exception as error:
                    failures.append({"measure": name, "error": f"{type(error).__name__}: {error}"})
                    break
                cost = shared_cost(obs, module.NEEDS) + view.passes
                rows += [{**_row(name, module), **value, "cost": cost, "group": group} for value in values]
    return rows, failures


def _groups(obs: Observation, module: ModuleType) -> tuple[str, ...]:
    """All the questions (""), and each group of them where the indicator is a mean over questions that have it."""
    from interp.measure.questions import groups_of

    scored = [need for need in module.NEEDS if need.startswith(ASKED) and obs[need] is not None]
    return ("", *groups_of(obs.examples)) if scored and not module.DIMS else ("",)


def _named(entry: Measure) -> tuple[str, Mapping[str, Any]]:
    return (entry, {}) if isinstance(entry, str) else (entry[0], entry[1])


def _indicator(name: str, params: Mapping[str, Any]) -> ModuleType:
    """The indicator's module, once its parameters have been checked."""
    module = plugins.module("indicators", name)
    known = list(inspect.signature(plugins.load("indicators", name)).parameters)[1:]
    for param in params:
        if param not in known:
            raise unknown(f"parameter of measure {name!r}", param, known)
    return module


def _view(obs: Observation, module: ModuleType, name: str, params: Mapping[str, Any], group: str) -> Observation:
    """What the indicator may see: its own needs, at its own positions, the questions of a group, and a random stream
    of its own."""
    labels = (name, *(f"{key}={params[key]}" for key in sorted(params)))
    stream = seeds.generator(obs.rng.initial_seed(), *labels)

    def beside(when: str, other: Observation | None) -> Observation | None:
        if other is None or when not in module.NEEDS:
            return None
        circuit = other.circuit if "circuit" in module.NEEDS else None
        return replace(other, kept=_kept(other, module.NEEDS), circuit=circuit)

    return replace(
        obs,
        kept=_of_group(obs, _kept(obs, module.NEEDS), group),
        rng=stream,
        passes=0.0,
        previous=beside("previous", obs.previous),
        initial=beside("initial", obs.initial),
        final=beside("final", obs.final),
        circuit=obs.circuit if "circuit" in module.NEEDS else None,
        reference=obs.reference if "reference" in module.NEEDS else None,
    )


def _alone(other: Observation | None) -> Observation | None:
    """Without what it was compared with, so that a run's observations do not hold each other in memory."""
    return None if other is None else replace(other, previous=None, initial=None, final=None)


def _kept(obs: Observation, needs: Mapping[str, str]) -> dict[str, Any]:
    """What `needs` names, at the answer position where every position was kept for the sake of another indicator."""
    kept = {}
    for need, positions in needs.items():
        if need in BESIDE:
            continue
        value = obs[need]
        narrow = positions == "answer" and obs.needs.get(need) == "all" and need != "logits"
        kept[need] = at_answer(value, need, obs.prompts) if narrow else value
    return kept


def _of_group(obs: Observation, kept: dict[str, Any], group: str) -> dict[str, Any]:
    """What was kept, with the scores of the group's questions only."""
    from interp.measure.questions import in_group

    if not group:
        return kept
    here = in_group(obs.examples, group)
    return {
        need: value[here] if need.startswith(ASKED) and value is not None else value for need, value in kept.items()
    }


def shared_cost(obs: Observation, needs: Mapping[str, str]) -> float:
    """Forward passes over the prompts that an indicator with these needs costs alone."""
    asked = [need for need in needs if need.startswith(ASKED)]
    cost = obs.kept.get(f"{ASKED}n_tokens", 0) / obs.prompts.clean.numel() if asked else 0.0
    for part in ("", *SPLITS):
        sites = [need for need in needs if need not in (*BESIDE, *asked, "weights") and _part(need) == part]
        passes = (1 if sites else 0) + (2 if any(site.endswith(".grad") for site in sites) else 0)
        tokens = obs.splits[part].tokens if part and sites else obs.prompts.clean
        cost += passes * tokens.numel() / obs.prompts.clean.numel()
    return cost


def _part(need: str) -> str:
    """ "train", "test", or "" for a need that is met on the prompts."""
    head = need.partition(".")[0]
    return head if head in SPLITS else ""


def _row(name: str, module: ModuleType) -> dict[str, Any]:
    return {
        "measure": name,
        "component": "",
        "position": None,
        "unit": module.UNIT,
        "kind": getattr(module, "KIND", "indicator"),
        "online": module.ONLINE,
        "stderr": None,
        "n": None,
    }


def _values(result: Any, dims: Sequence[str]) -> Iterator[dict[str, Any]]:
    """An indicator's result, one value at a time, under the names that the table's contract has for components."""
    if isinstance(result, Mapping):
        if tuple(dims) != ("component",):
            raise TypeError(f"a dictionary was returned where DIMS is {tuple(dims)}; expected ('component',)")
        for component, value in result.items():
            yield {"component": component, **_cell(value)}
        return
    if not dims:
        yield _cell(result)
        return
    values = torch.as_tensor(result)
    if values.ndim != len(dims):
        raise TypeError(f"a tensor of shape {tuple(values.shape)} was returned where DIMS is {tuple(dims)}")
    for index in product(*map(range, values.shape)):
        yield {**_place(dict(zip(dims, index, strict=True))), **_cell(values[index])}


def _cell(value: Any) -> dict[str, Any]:
    if isinstance(value, Estimate):
        return {"value": float(value.value), "stderr": float(value.stderr), "n": int(value.n)}
    return {"value": float(value)}


def _place(index: Mapping[str, int]) -> dict[str, Any]:
    """{"layer": 2, "head": 3, "pos": 5} -> component "L2H3", position 5; a digit of the answer counts as a position."""
    component = "".join(f"{letter}{index[dim]}" for dim, letter in (("layer", "L"), ("head", "H")) if dim in index)
    return {"component": component, "position": index.get("pos", index.get("digit"))}


def _columns(tokens: Tensor) -> Int[Tensor, "prompt answer_len"]:
    return tokens[:, None] if tokens.ndim == 1 else tokens
