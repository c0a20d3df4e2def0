"""What an indicator says of itself: the needs that the shared passes meet, and what its values are.

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
            window        the observations ("all"), with the same NEEDS, of the ten checkpoints before this one in the
                          run's stored schedule, oldest first; fewer where the run has fewer
            circuit       the circuit found at this checkpoint ("all"), or None
            question.NAME the score NAME of `interp.measure.questions.ask` of each question that a text task lists
                          ("all"), or None where it lists none, or none that has it
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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from interp import plugins
from interp.errors import InputError, unknown
from interp.models.sites import SITES

Measure = str | tuple[str, Mapping[str, Any]]
"""An indicator's name, or its name and parameters."""

SPLITS = ("train", "test")
BESIDE = ("previous", "window", "initial", "final", "circuit", "reference")
QUESTION = "question"
POSITIONS = ("answer", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One thing that an indicator reads.

    name: as NEEDS writes it, and as the observation is asked for it.
    on: where it is met: the "prompts", a split, the "questions" of a text task, the "weights", or "beside" the
        checkpoint.
    what: the site, the questions' score, or what lies beside. gradient: of the site.
    """

    name: str
    on: Literal["prompts", "train", "test", "questions", "weights", "beside"]
    what: str
    gradient: bool = False
    positions: str = "answer"

    @property
    def site(self) -> str | None:
        """The site within the model that must be seen for it; None for logits and what is not of a pass."""
        return self.what if self.on in ("prompts", *SPLITS) and self.what != "logits" else None


@cache
def need(name: str, positions: str = "answer") -> Need:
    """The need that a key of NEEDS names.

    Raises:
        InputError: no such site, split or position.
    """
    if positions not in POSITIONS:
        raise unknown(f"positions of the need {name!r}", positions, POSITIONS)
    if name in BESIDE:
        return Need(name=name, on="beside", what=name, positions=positions)
    if name == "weights":
        return Need(name=name, on="weights", what=name, positions=positions)
    head, dot, rest = name.partition(".")
    if dot and head == QUESTION:
        return Need(name=name, on="questions", what=rest, positions=positions)
    split: Any = head if dot and head in SPLITS else None
    site = rest if split else name
    gradient = split is None and site.endswith(".grad")
    site = site.removesuffix(".grad") if gradient else site
    if site not in SITES:
        raise unknown("need", name, (*SITES, "weights", *BESIDE))
    return Need(name=name, on=split or "prompts", what=site, gradient=gradient, positions=positions)


def needs_in(written: Mapping[str, str]) -> tuple[Need, ...]:
    """The needs that a NEEDS writes down."""
    return tuple(need(name, positions) for name, positions in written.items())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Indicator:
    """An indicator's file, read once: its function and what its constants say."""

    name: str
    function: Callable[..., Any]
    parameters: tuple[str, ...]
    needs: tuple[Need, ...]
    dims: tuple[str, ...]
    unit: str
    online: bool
    kind: str
    cost: str

    def wants(self, name: str) -> bool:
        return any(one.name == name for one in self.needs)


def indicator(name: str, params: Mapping[str, Any] | None = None) -> Indicator:
    """The indicator of that name, once its parameters have been checked.

    Raises:
        InputError: an unknown indicator, parameter or need.
    """
    module = plugins.module("indicators", name)
    function = plugins.load("indicators", name)
    for constant in ("NEEDS", "DIMS", "UNIT", "ONLINE"):
        if not hasattr(module, constant):
            raise InputError(
                f"indicator {name!r} has no {constant}: what each file says of itself is in interp.measure.needs"
            )
    needs = needs_in(module.NEEDS)
    read = [one for one in needs if one.on not in ("beside", "weights")]
    derived = "backward" if any(one.gradient for one in read) else "forward" if read else "weights"
    found = Indicator(
        name=name,
        function=function,
        parameters=tuple(inspect.signature(function).parameters)[1:],
        needs=needs,
        dims=tuple(module.DIMS),
        unit=module.UNIT,
        online=module.ONLINE,
        kind=getattr(module, "KIND", "indicator"),
        cost=getattr(module, "COST", derived),
    )
    for param in params or {}:
        if param not in found.parameters:
            raise unknown(f"parameter of measure {name!r}", param, found.parameters)
    return found


def named(entry: Measure) -> tuple[str, Mapping[str, Any]]:
    return (entry, {}) if isinstance(entry, str) else (entry[0], entry[1])


def needs_of(measures: Iterable[Measure]) -> tuple[Need, ...]:
    """The needs of all the measures together: what `observe` must keep for them, everywhere where one asks for it.

    Raises:
        InputError: an unknown indicator, parameter or need.
    """
    found: dict[str, Need] = {}
    for entry in measures:
        for one in indicator(*named(entry)).needs:
            kept = found.get(one.name)
            found[one.name] = one if kept is None or one.positions == "all" else kept
    return tuple(found.values())
