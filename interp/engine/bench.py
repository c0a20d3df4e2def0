"""What one process keeps between the units of a sweep: a model, the tasks and their prompts, and of every run the
observations that other checkpoints are compared with, so that no checkpoint is observed twice.

A bench belongs to one experiment and one thread at a time (`at_bench`): models exchange their weights in place, and
transformers' loading and torch's settings are the whole process's. So an executor of threads gives what one of
processes gives, one unit after the other.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp import files, seeds
from interp.engine.config import Experiment, TaskSpec
from interp.engine.profile import stage
from interp.engine.units import COMPARED, Result, Unit, circuit_key, needs_of_measure, task_of
from interp.errors import InputError
from interp.families.ahead import ReadAhead
from interp.families.intervening import acting
from interp.types import CheckpointRef

if TYPE_CHECKING:
    from interp.circuits import Circuit
    from interp.measure.observe import Observation
    from interp.models import Model
    from interp.types import Prompts, Task

Measure = tuple[str, Mapping[str, Any]]

KEPT_RUNS = 4
"""How many runs' tasks and prompts are kept: runs come one after the other, those compared with beside them. A choice."""


@dataclass(kw_only=True, eq=False)
class Bench:
    """model: the one in memory, after its family's name.
    seen: by task and by what it is to other checkpoints ("previous", "initial", "final"), the checkpoint that was
    observed last as such; only what the measures that compare with it need.
    windows: by task, the same of the checkpoints that a measure looks back at."""

    experiment: Experiment
    out: Path
    ahead: ReadAhead = field(default_factory=ReadAhead)
    model: tuple[str, Model] | None = None
    tasks: dict[tuple[str, int, int], tuple[Task, int, Any]] = field(default_factory=dict)
    drawn: dict[tuple[Task, int], Prompts] = field(default_factory=dict)
    asked: dict[tuple[Task, int], Task] = field(default_factory=dict)
    seen: dict[tuple[int, str], tuple[CheckpointRef, Observation]] = field(default_factory=dict)
    windows: dict[int, list[tuple[CheckpointRef, Observation]]] = field(default_factory=dict)

    @stage("loading")
    def model_at(self, ref: CheckpointRef) -> Model:
        """A model that holds the weights of `ref`: one at a time, built anew for another family and wherever the
        configuration is another (settings of one size may differ in their activation, which no weight shows). The first
        swap of each family and architecture is proved by logits."""
        from interp.families.streaming import follow

        family, model = self.model or ("", None)
        if model is None or family != ref.family:
            model = self._fresh(ref)
        elif model.ref != ref:
            config, weights = self.ahead.checkpoint(ref)
            if dict(model.config) != config:
                model = self._fresh(ref)
            else:
                follow(model, ref, weights)
        self.model = ref.family, model
        self.ahead.start()
        return model

    def _fresh(self, ref: CheckpointRef) -> Model:
        from interp.families import load

        self.ahead.settle()
        self.model = None  # freed before the next is built
        return load(ref, device=self.experiment.device, dtype=self.experiment.dtype)

    def task(self, spec: TaskSpec, ref: CheckpointRef) -> tuple[Task, int]:
        """The task in the model's own tokens, and its split seed; made once for all checkpoints of a run, with its
        splits."""
        from interp.tasks import fit_task

        model = self.model_at(ref)
        described = json.dumps([spec.name, dict(spec.params), ref.manifest.get("task")], sort_keys=True, default=str)
        key = described, id(model.tokenizer), model.n_ctx
        if key not in self.tasks:
            if len(self.tasks) >= KEPT_RUNS * len(self.experiment.tasks):
                for kept in (self.tasks, self.drawn, self.asked):
                    kept.clear()  # type: ignore[attr-defined]
            task, split_seed = task_of(spec, ref)
            task = fit_task(task, model)
            self.tasks[key] = replace(task, splits=cache(task.splits)), split_seed, model.tokenizer
        return self.tasks[key][:2]

    def questions(self, spec: TaskSpec, ref: CheckpointRef) -> tuple[Task, int]:
        """The task with the questions that every checkpoint of a run is asked, chosen once; and its split seed."""
        from interp.tasks import ask_of

        task, split_seed = self.task(spec, ref)
        if (task, spec.n_prompts) not in self.asked:
            chosen = ask_of(task, spec.n_prompts, seed=self.experiment.seed, split_seed=split_seed)
            self.asked[task, spec.n_prompts] = chosen
        return self.asked[task, spec.n_prompts], split_seed

    def prompts(self, task: Task, split_seed: int, n: int) -> Prompts:
        """The same prompts for every checkpoint of a run, drawn once."""
        from interp.tasks import draw_prompts

        if (task, n) not in self.drawn:
            self.drawn[task, n] = draw_prompts(task, n, seed=self.experiment.seed, split_seed=split_seed)
        return self.drawn[task, n]

    @stage("circuits")
    def circuit(self, ref: CheckpointRef, spec: TaskSpec) -> Circuit:
        """The circuit of a checkpoint: read where it was found before, else found and kept."""
        from interp.circuits import Circuit, find_circuit
        from interp.circuits.formation.track import split

        wanted = self.experiment.circuits
        if wanted is None:
            raise InputError("the experiment asks for no circuits")
        path = self.out / "circuits" / f"{circuit_key(ref, spec, self.experiment)}.json"
        if path.is_file():
            return Circuit.from_json(files.read_json(path))
        found_on, _ = split(self.circuit_prompts(ref, spec))
        circuit = find_circuit(self.model_at(ref), found_on, method=wanted.method, metric=wanted.metric)
        files.write_json(path, circuit.to_json())
        return circuit

    @stage("circuits")
    def formation(self, ref: CheckpointRef, spec: TaskSpec) -> Mapping[str, Any]:
        """What the circuit of a checkpoint does on other prompts (`Snapshot.to_json`): read where it was tried before,
        else tried and kept, in a file of its own."""
        from interp.circuits.formation.track import snapshot

        path = self.out / "formation" / f"{circuit_key(ref, spec, self.experiment)}.json"
        if path.is_file():
            return files.read_json(path)
        wanted = self.experiment.circuits
        assert wanted is not None
        circuit, prompts = self.circuit(ref, spec), self.circuit_prompts(ref, spec)
        model = self.model_at(ref)
        found = snapshot(
            model, ref.step, prompts, method=wanted.method, metric=wanted.metric, circuit=circuit
        ).to_json()
        files.write_json(path, found)
        return found

    def chosen_circuit(self, ref: CheckpointRef, spec: TaskSpec) -> Circuit:
        """The circuit of a checkpoint, with those edges in it that reach 80 % faithfulness."""
        from interp.circuits.formation.tracked import chosen_edges

        return chosen_edges(self.circuit(ref, spec), self.formation(ref, spec))

    def circuit_prompts(self, ref: CheckpointRef, spec: TaskSpec) -> Prompts:
        """The prompts that circuits are found on (every other one) and tried on."""
        assert self.experiment.circuits is not None
        task, split_seed = self.task(spec, ref)
        return self.prompts(task, split_seed, 2 * self.experiment.circuits.n_prompts)

    @stage("observation")
    def compared(self, unit: Unit, index: int, wanted: Sequence[Result]) -> dict[str, Any]:
        """What lies beside a unit's checkpoint for its measures of a task: observations of others, and a circuit."""
        spec, beside = self.experiment.tasks[index], dict[str, Any]()
        measures = measures_of(wanted)
        for part in reversed(COMPARED):  # the last checkpoint of a run first: the model need not come back to it
            comparing = [entry for entry in measures if part in needs_of_measure(entry[0])]
            other = getattr(unit, part)
            if comparing and other is not None and other != unit.ref:
                obs = self._seen(other, index, part, comparing)
                beside[part] = replace(obs, circuit=self._beside_circuit(other, index, part, comparing))
        if any("window" in needs_of_measure(name) for name, _ in measures):
            self.windows[index] = [(ref, self._in_window(ref, index)) for ref in unit.window]
            beside["window"] = [obs for _, obs in self.windows[index]]
        if unit.reference is not None and any("reference" in needs_of_measure(name) for name, _ in measures):
            beside["reference"] = self.chosen_circuit(unit.reference, spec)
        return beside

    @stage("observation")
    def observe(self, unit: Unit, index: int, wanted: Sequence[Result], beside: Mapping[str, Any]) -> Observation:
        """The observation of the unit's checkpoint, once; kept for those that will be compared with it."""
        from interp.measure.observe import trimmed

        measures = measures_of(wanted)
        circuit = self._beside_circuit(unit.ref, index, "", measures)
        obs = self._observe(unit.ref, index, measures, {**beside, "circuit": circuit})
        for part in COMPARED:
            comparing = [entry for entry in measures if part in needs_of_measure(entry[0])]
            itself = getattr(unit, part) == unit.ref
            if itself or part == "previous":
                self._keep(unit.ref, index, part, obs)
            if itself and comparing:
                found = self._beside_circuit(unit.ref, index, part, comparing)
                alone = replace(obs, previous=None, window=(), initial=None, final=None, circuit=found)
                setattr(obs, part, alone)
        if looking_back := self._comparing("window"):
            self.windows.setdefault(index, []).append((unit.ref, trimmed(obs, looking_back)))
        return obs

    def _in_window(self, ref: CheckpointRef, index: int) -> Observation:
        """What measures that look back need of an earlier checkpoint: observed now only where it is not kept."""
        from interp.measure.observe import trimmed

        kept = next((obs for seen, obs in self.windows.get(index, ()) if seen == ref), None)
        wanted = self._comparing("window")
        return kept or trimmed(self._observe(ref, index, wanted, {}), wanted)

    def _beside_circuit(self, ref: CheckpointRef, index: int, part: str, measures: Sequence[Measure]) -> Circuit | None:
        """The circuit that measures see of a checkpoint; of the last one of a run only the edges that it needs."""
        if self.experiment.circuits is None or not any("circuit" in needs_of_measure(name) for name, _ in measures):
            return None
        find = self.chosen_circuit if part == "final" else self.circuit
        return find(ref, self.experiment.tasks[index])

    def _seen(self, ref: CheckpointRef, index: int, part: str, measures: Sequence[Measure]) -> Observation:
        """The observation of another checkpoint, for measures that compare with it: made now only where it is not
        kept."""
        from interp.measure.needs import needs_of

        needs = [need for need in needs_of(measures) if need.on != "beside"]
        kept = filter(None, (self.seen.get((index, role)) for role in (part, *COMPARED)))
        found = next((obs for seen, obs in kept if seen == ref and _covers(obs, needs)), None)
        if found is None:
            found = self._observe(ref, index, self._comparing(part), {})
        self._keep(ref, index, part, found)
        return found

    def _comparing(self, part: str) -> list[Measure]:
        """The experiment's measures that compare with such a checkpoint."""
        named = [(measure.name, measure.params) for measure in self.experiment.measures]
        return [entry for entry in named if part in needs_of_measure(entry[0])]

    def _keep(self, ref: CheckpointRef, index: int, part: str, obs: Observation) -> None:
        """Keeps what the measures that compare with such a checkpoint need of an observation; the one before it goes."""
        from interp.measure.observe import trimmed

        comparing = self._comparing(part)
        if comparing:
            self.seen[index, part] = ref, trimmed(obs, comparing)

    def _observe(
        self, ref: CheckpointRef, index: int, measures: Sequence[Measure], beside: dict[str, Any]
    ) -> Observation:
        from interp.measure.needs import needs_of
        from interp.measure.observe import observe

        spec, model = self.experiment.tasks[index], self.model_at(ref)
        task, split_seed = self.questions(spec, ref)
        stream = seeds.generator(self.experiment.seed, "measures", ref.sha256)
        prompts = self.prompts(task, split_seed, spec.n_prompts)
        under = [one for _, one in acting(ref.manifest.get("interventions", ()), ref.step - 1)]
        beside = {**beside, "interventions": under}
        return observe(model, task, prompts, task.splits(split_seed), needs_of(measures), stream, **beside)


def measures_of(wanted: Sequence[Result]) -> list[Measure]:
    """Names and parameters of the results that are measures."""
    return [(result.measure.name, result.measure.params) for result in wanted if result.measure is not None]


def _covers(obs: Observation, needs: Sequence[Any]) -> bool:
    """Whether an observation kept all that is needed, at all positions that are needed."""
    return all(
        need.name in obs.kept and (need.positions == "answer" or obs.needs[need.name].positions == "all")
        for need in needs
    )


_TURN = threading.RLock()
_bench: Bench | None = None


@contextmanager
def at_bench(experiment: Experiment, out: Path) -> Iterator[Bench]:
    """This process's bench for an experiment, for one thread at a time; the bench of another experiment is given up."""
    global _bench
    with _TURN:
        if _bench is None or (_bench.experiment, _bench.out) != (experiment, out):
            _bench = Bench(experiment=experiment, out=out)
        yield _bench


def clear_bench() -> None:
    """Gives up what this process keeps between units."""
    global _bench
    with _TURN:
        _bench = None
