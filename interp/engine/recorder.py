"""Measure inside one's own training loop: the same table, without storing weights.

rec = interp.Recorder("modular_addition", ["exact_match", "rankme"], "runs/mine", budget=10_000)
for step in range(10_000):
    ...
    if step % 100 == 0:
        rec(model, step)
"""

from __future__ import annotations

import sys
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp import seeds
from interp.engine.units import WINDOW
from interp.errors import InputError
from interp.table import FACTS, store
from interp.table.contract import LARGEST
from interp.types import Batch, Prompts, Task

if TYPE_CHECKING:
    from torch import nn

    from interp.measure.needs import Measure
    from interp.measure.observe import Observation
    from interp.models import Model


class Recorder:
    """Writes what the measures say of a model in training to a run directory, step by step.

    Every command (`interp report`, `jumps`, `leads … --forecast`) can read the directory while the run goes on. A step
    that is recorded again replaces what was recorded before, so a training that was resumed leaves one row a value.

    The model is a Hugging Face module, TransformerLens' NativeModel, or a module of your own whose forward takes tokens
    [prompt, pos] as its first argument and gives logits [prompt, pos, vocab] (or an object with `.logits`). Of the last,
    only logits and weights are known: measures that need anything within are skipped, with a warning.

    Args:
        task: a task or its name.
        measures: names, or (name, parameters); not those that need the end of the run or a circuit.
        folder: the run directory.
        run, family, size, setting, seed, budget: as in the table; `budget` is the planned number of steps. They stay
            what they are for the whole of a run.
        n_prompts: how many clean/corrupt pairs are measured on, the same ones at every step.
        split_seed: the seed of the task's split into training and test examples.
        tokenizer: what the model reads text through, where it is a bare module: a skill with a text form is asked so.

    Raises:
        InputError: a measure that does not exist or cannot be known yet, a budget that is no positive whole number, a
            run that the folder holds with another setting, size, seed or budget.
    """

    def __init__(
        self,
        task: Task | str,
        measures: Sequence[str | tuple[str, Mapping[str, Any]]],
        folder: str | Path,
        *,
        run: str = "live",
        family: str = "",
        size: str = "",
        setting: str = "",
        seed: int = 0,
        budget: int | None = None,
        n_prompts: int = 256,
        split_seed: int = 0,
        tokenizer: Any = None,
    ) -> None:
        from interp.measure.needs import indicator, named
        from interp.tasks import task as named_task

        self.task = named_task(task) if isinstance(task, str) else task
        self.measures = list(measures)
        chosen = [indicator(*named(entry)) for entry in self.measures]
        for need in ("final", "circuit", "reference"):
            names = [one.name for one in chosen if one.wants(need)]
            if names:
                raise InputError(f"{', '.join(names)} cannot be recorded live: it needs the {need}")
        self.folder = Path(folder)
        self.seed = seed
        if budget is not None and _whole("budget", budget) < 1:
            raise InputError(f"budget is {budget}; expected the planned number of steps, at least 1")
        self.about: dict[str, Any] = {
            "run": run, "family": family, "size": size, "setting": setting, "seed": seed, "budget": budget,
            "task": self.task.name,
        }  # fmt: skip
        self.n_prompts, self.split_seed, self.tokenizer = _whole("n_prompts", n_prompts), split_seed, tokenizer
        if self.n_prompts < 1:
            raise InputError(f"n_prompts is {n_prompts}; a measure needs at least one")
        self._check_resumed()
        self._asked: tuple[Task, Prompts, Mapping[str, Batch]] | None = None
        self._failed: set[str] = set()
        self._model: Model | None = None
        self._previous: Observation | None = None
        self._window: deque[Observation] = deque(maxlen=WINDOW)
        self._initial: Observation | None = None

    def __call__(self, model: nn.Module | Model, step: int, *, tokens: int | None = None) -> dict[str, float]:
        """Measure `model` at `step`, append it to the table, and return the values that have no component.

        step: a whole number, also as a NumPy or torch scalar.

        The model is left as found, gradients and mode included. A measure that fails is skipped, named in the folder's
        failures, and warned of the first time.
        """
        from interp.measure.needs import indicator, named, needs_of
        from interp.measure.observe import measure, observe, trimmed

        step = _whole("step", step)
        if not 0 <= step <= LARGEST:
            raise InputError(f"step is {step}; a table counts steps from 0 to 2^53")
        handle = self._handle(model)
        task, prompts, splits = self._ask(handle)
        measures, failures = self._within_reach(handle)
        rng = seeds.generator(self.seed, "measures", step)
        beside: dict[str, Any] = {"previous": self._previous, "window": self._window, "initial": self._initial}
        obs = observe(handle, task, prompts, splits, needs_of(measures), rng, **beside)
        rows, failed = measure(obs, measures)
        n_params = sum(parameter.numel() for parameter in obs.model.module.parameters())
        common = {**self.about, "step": step, "tokens": tokens, "n_params": n_params}
        key = store.digest(common["run"], self.task.name, step)
        if rows:
            store.append(self.folder, [{**common, **row, **_named(row, self.task.name), "key": key} for row in rows])
        unit = f"{common['run']}@step{step}"
        failures = [{"unit": unit, "task": self.task.name, **failure} for failure in (*failures, *failed)]
        path = store.write_failures(self.folder, f"{unit} {self.task.name}", failures)
        for failure in failures:
            if failure["measure"] not in self._failed:
                text = f"{failure['measure']} failed at step {step}: {failure['error']} (see {path}; said only once)"
                warnings.warn(text, stacklevel=2)
        self._failed.update(failure["measure"] for failure in failures)
        self._initial = self._initial or obs
        self._previous = obs
        looking_back = [entry for entry in measures if indicator(*named(entry)).wants("window")]
        self._window.append(trimmed(obs, looking_back))
        return {row["measure"]: row["value"] for row in rows if _is_whole(row)}

    @property
    def prompts(self) -> Prompts:
        """What the model is measured on, in its own tokens; known from its first step on."""
        if self._asked is None:
            raise InputError("the prompts are drawn in the tokens of the model, at its first step")
        return self._asked[1]

    def _ask(self, model: Model) -> tuple[Task, Prompts, Mapping[str, Batch]]:
        """The skill as a sweep would ask this model: the task in its tokens, its prompts and its splits, drawn once."""
        from interp.tasks import ask_of, draw_prompts, fit_task

        if self._asked is None:
            task = fit_task(self.task, model, tokenizer=self.tokenizer)
            if task is self.task and task.text is not None and len(task.vocab) < model.n_tokens < sys.maxsize:
                warnings.warn(
                    f"the model reads {model.n_tokens} tokens and is shown the {len(task.vocab)} of {task.name!r} itself: "
                    "if it reads text, name its tokenizer (Recorder(…, tokenizer=…))",
                    stacklevel=3,
                )
            drawn = {"seed": self.seed, "split_seed": self.split_seed}
            prompts = draw_prompts(task, self.n_prompts, **drawn)
            self._asked = ask_of(task, self.n_prompts, **drawn), prompts, task.splits(self.split_seed)
        return self._asked

    def _check_resumed(self) -> None:
        """Raises InputError if the folder holds this run under other facts: the table would contradict itself."""
        if not any(self.folder.glob("shards/*.parquet")):
            return
        table = store.read(self.folder)
        mine = table[(table["run"] == self.about["run"]) & (table["task"] == self.about["task"])]
        for fact in FACTS:
            for known in mine[fact].replace("", None).dropna().unique():
                if self.about[fact] not in (known, "", None):
                    raise InputError(
                        f"{self.folder} holds run {self.about['run']!r} with {fact} {known}, not {self.about[fact]}: "
                        f"go on with {fact} {known}, or record under another name"
                    )

    def _within_reach(self, model: Model) -> tuple[list[Measure], list[dict[str, str]]]:
        """The measures that can be taken of this model, and what the others lack."""
        from interp.measure.needs import indicator, named
        from interp.models.handle import check_inside

        measures, failures = [], []
        for entry in self.measures:
            one = indicator(*named(entry))
            try:
                for site in filter(None, (need.site for need in one.needs)):
                    check_inside(model, site)
                measures.append(entry)
            except InputError as error:
                failures.append({"measure": one.name, "error": f"InputError: {error}"})
        return measures, failures

    def _handle(self, model: nn.Module | Model) -> Model:
        from torch import nn

        from interp.models import Model, wrap
        from interp.models.building import is_known, opaque

        if isinstance(model, Model):
            return model
        if self._model is None or self._model.module is not model:
            own = isinstance(model, nn.Module) and not is_known(model)
            self._model = opaque(model, len(self.task.vocab)) if own else wrap(model)
        return self._model


def _named(row: Mapping[str, Any], task: str) -> dict[str, str]:
    """What the table calls the task, or a group of its questions: as in a sweep."""
    return {"task": f"{task}/{row['group']}" if row["group"] else task}


def _is_whole(row: Mapping[str, Any]) -> bool:
    """Whether a row speaks of the whole model and of all questions."""
    return not row["component"] and row["position"] is None and not row["group"]


def _whole(name: str, given: Any) -> int:
    """A whole number, whatever kind of scalar holds it."""
    try:
        plain = given.item() if hasattr(given, "item") else given
    except (RuntimeError, ValueError):  # an array or tensor of several numbers
        plain = given
    if isinstance(plain, (int, float)) and not isinstance(plain, bool) and plain % 1 == 0:
        return int(plain)
    raise InputError(f"{name} is {given!r}; expected a whole number")
