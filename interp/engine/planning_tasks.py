"""What a task costs at one checkpoint: tokens of a pass, passes of the measures, and which shape the model has."""

from __future__ import annotations

from dataclasses import dataclass, replace

from interp.engine.config import Experiment, TaskSpec
from interp.engine.planning_circuits import Shape
from interp.engine.units import task_of
from interp.families.read import read_config, source_kind
from interp.types import CheckpointRef, Task

BYTES_PER_TOKEN = 4
"""Of English text under the tokenizers of the listed families."""

N_TRIED = 8
"""How many questions of a text task are asked to see what a question costs."""


def described(task: TaskSpec, ref: CheckpointRef) -> str:
    """The task as the checkpoint's run was trained on it."""
    trained = ref.manifest.get("task") or {}
    own = trained.get("params") if trained.get("name") == task.name else None
    return f"{task.label} {own}" if own else task.label


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskNeeds:
    """tokens: in one forward pass over the prompts. passes: forward passes over the prompts at one checkpoint, `shared`
    those at one that is only compared with."""

    tokens: int
    passes: float
    shared: float


_FEW: dict[str, tuple[Task, int]] = {}


def few(described: str, spec: TaskSpec, ref: CheckpointRef) -> tuple[Task, int]:
    """The task with a few of its questions and its split seed, made once for each way that it is described."""
    if described not in _FEW:
        skill, split_seed = task_of(spec, ref)
        _FEW[described] = _few_questions(skill, spec.n_prompts)[0], split_seed
    return _FEW[described]


def shape_of(ref: CheckpointRef) -> Shape | None:
    """Layers and heads, as the recipe or the files at hand say."""
    if "shape" in ref.manifest:
        n_layers, n_heads = ref.manifest["shape"]
        return n_layers, n_heads
    if ref.path is None:
        return None
    config = read_config(ref)
    n_layers, n_heads = (next((config[name] for name in names if name in config), None) for names in _SHAPE_KEYS)
    return None if n_layers is None or n_heads is None else (int(n_layers), int(n_heads))


_SHAPE_KEYS = (("n_layers", "num_hidden_layers", "n_layer"), ("n_heads", "num_attention_heads", "n_head"))


def task_needs(experiment: Experiment, spec: TaskSpec, ref: CheckpointRef) -> TaskNeeds:
    """What the measures of a task cost at one checkpoint. They run once on a model of one small layer: the cost in
    passes hardly depends on the model."""
    from interp.measure.needs import needs_of
    from interp.measure.observe import measure, observe, shared_cost
    from interp.measure.passes import N_TOKENS
    from interp.models import build, wrap
    from interp.seeds import generator

    skill, split_seed = task_of(spec, ref)
    skill, share = _few_questions(skill, spec.n_prompts)
    config = {"architecture": "native", "n_layers": 1, "n_heads": 1, "d_model": 8, "d_head": 8, "d_mlp": 8}
    config |= {"n_ctx": skill.n_ctx, "d_vocab": len(skill.vocab), "d_vocab_out": len(skill.vocab), "act_fn": "relu"}
    measures = [(entry.name, dict(entry.params)) for entry in experiment.measures]
    prompts = skill.prompts(spec.n_prompts, rng=generator(0, "plan"), seed=split_seed)
    model, splits = wrap(build(config, seed=0)), skill.splits(split_seed)
    seen = observe(model, skill, prompts, splits, needs_of(measures), generator(0, "plan"))
    if N_TOKENS in seen.kept:
        seen = replace(seen, kept={**seen.kept, N_TOKENS: seen.kept[N_TOKENS] / share})
    passes = shared_cost(seen, needs_of(measures))
    for entry in measures:
        rows, _ = measure(seen, [entry])
        passes += rows[0]["cost"] - shared_cost(seen, needs_of([entry])) if rows else 0.0
    is_text = source_kind(ref) == "hub" and skill.tokenizer is not None
    tokens = prompts.clean.numel() / (BYTES_PER_TOKEN if is_text else 1)
    return TaskNeeds(tokens=round(tokens), passes=passes, shared=shared_cost(seen, needs_of(measures)))


def _few_questions(skill: Task, n: int) -> tuple[Task, float]:
    """The task with a few of the n questions that it asks, and which share of them that is."""
    from interp.seeds import generator

    text = skill.text
    if text is None or not (text.examples or text.questions):
        return skill, 1.0
    make = text.questions
    chosen = text.examples[:N_TRIED] if make is None else tuple(make(N_TRIED, rng=generator(0, "plan")))
    asked = n if make is not None else min(n, len(text.examples))
    return replace(skill, text=replace(text, examples=chosen, questions=None)), len(chosen) / max(asked, 1)
