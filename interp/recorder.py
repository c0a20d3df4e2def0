"""Measure inside one's own training loop: the same table, without storing weights.

rec = interp.Recorder("modular_addition", ["exact_match", "rankme"], "runs/mine", budget=10_000)
for step in range(10_000):
    ...
    if step % 100 == 0:
        rec(model, step)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp import plugins, seeds, store
from interp.errors import InputError
from interp.types import Task

if TYPE_CHECKING:
    from torch import nn

    from interp.models import Model
    from interp.observe import Observation


class Recorder:
    """Writes what the measures say of a model in training to a run directory, step by step.

    Every command (`interp report`, `jumps`, `leads … --forecast`) can read the directory while the run goes on. A step
    that is recorded again replaces what was recorded before, so a training that was resumed leaves one row a value.

    Args:
        task: a task or its name.
        measures: names, or (name, parameters); not those that need the end of the run or a circuit.
        folder: the run directory.
        run, family, size, setting, seed, budget: as in the table; `budget` is the planned number of steps.
        n_prompts: how many clean/corrupt pairs are measured on, the same ones at every step.
        split_seed: the seed of the task's split into training and test examples.
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
    ) -> None:
        from interp.observe import needs_of
        from interp.tasks import task as named_task

        self.task = named_task(task) if isinstance(task, str) else task
        self.measures = list(measures)
        self.needs = needs_of(self.measures)
        for need in ("final", "circuit", "reference"):
            if need in self.needs:
                names = [m for m in self.measures if need in plugins.module("indicators", _name(m)).NEEDS]
                raise InputError(f"{', '.join(map(_name, names))} cannot be recorded live: it needs the {need}")
        self.folder = Path(folder)
        self.seed = seed
        self.about: dict[str, Any] = {
            "run": run, "family": family, "size": size, "setting": setting, "seed": seed, "budget": budget,
            "task": self.task.name,
        }  # fmt: skip
        self.prompts = self.task.prompts(
            n_prompts, rng=seeds.generator(seed, "prompts", self.task.name), seed=split_seed
        )
        self.splits = self.task.splits(split_seed)
        self._model: Model | None = None
        self._previous: Observation | None = None
        self._initial: Observation | None = None

    def __call__(self, model: nn.Module | Model, step: int, *, tokens: int | None = None) -> dict[str, float]:
        """Measure `model` at `step`, append it to the table, and return the values that have no component.

        The model is left as found, gradients and mode included. A measure that fails is skipped and named in the
        folder's failures.
        """
        from interp.observe import measure, observe

        rng = seeds.generator(self.seed, "measures", step)
        beside = {"previous": self._previous, "initial": self._initial}
        obs = observe(self._handle(model), self.task, self.prompts, self.splits, self.needs, rng, **beside)
        rows, failures = measure(obs, self.measures)
        n_params = sum(parameter.numel() for parameter in obs.model.module.parameters())
        common = {**self.about, "step": step, "tokens": tokens, "n_params": n_params}
        key = store.digest(common["run"], step)
        if rows:
            store.append(self.folder, [{**common, **row, "key": key} for row in rows])
        unit = f"{common['run']}@step{step}"
        store.write_failures(
            self.folder, unit, [{"unit": unit, "task": self.task.name, **failure} for failure in failures]
        )
        self._initial = self._initial or obs
        self._previous = obs
        return {row["measure"]: row["value"] for row in rows if not row["component"] and row["position"] is None}

    def _handle(self, model: nn.Module | Model) -> Model:
        from interp.models import Model, wrap

        if isinstance(model, Model):
            return model
        if self._model is None or self._model.module is not model:
            self._model = wrap(model)
        return self._model


def _name(entry: str | tuple[str, Mapping[str, Any]]) -> str:
    return entry if isinstance(entry, str) else entry[0]
