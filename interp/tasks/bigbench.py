"""A BIG-bench task from its JSON file (Srivastava et al. 2022, arXiv 2206.04615; the schema of its task.json files).

The prompt and its defaults are those of BIG-bench's JSON tasks (docs/doc.md, "optional fields"), as lm-eval's
BigBenchJsonTask reproduces them: task_prefix, then questions joined by few_shot_example_separator, each of them
example_input_prefix + input + choice_prefix + choice … + example_output_prefix. What the model writes is cut after
stop_string, and the first match of output_regex in it is its answer, as it stands (an empty one is none); where a file
has neither field, the first run of characters without . ? ! ; and line breaks. Examples that are there twice count once.

Read: name, examples (input, with target and/or target_scores), metrics, preferred_score, task_prefix,
example_input_prefix, example_output_prefix, choice_prefix, append_choices_to_input, few_shot_example_separator,
stop_string, output_regex.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from interp.errors import InputError, nearest
from interp.seeds import generator
from interp.tasks import _check
from interp.tasks._examples import best_answer, examples_task
from interp.types import Example, Protocol, Task

DEFAULTS: Mapping[str, Any] = {
    "task_prefix": "",
    "example_input_prefix": "\nQ: ",
    "example_output_prefix": "\nA: ",
    "choice_prefix": "\n  choice: ",
    "few_shot_example_separator": "\n",
}
FIRST_SENTENCE = r"[^\.\?\!\;\n]+"
MAX_NEW_TOKENS = 64
"""How much a model may write, where no target is longer: a choice; BIG-bench leaves it to the model."""

TRIED: tuple[dict[str, Any], ...] = ({"path": "choices.json"}, {"path": "targets.json", "shots": 2})
FILES = {
    "choices.json": json.dumps(
        {
            "metrics": ["multiple_choice_grade"],
            "examples": [
                {"input": f"Is {n} even?", "target_scores": {"yes": int(n % 2 == 0), "no": int(n % 2), "maybe": 0}}
                for n in range(12)
            ],
        }
    ),
    "targets.json": json.dumps(
        {
            "metrics": ["exact_str_match"],
            "examples": [{"input": f"{n} + 1", "target": [str(n + 1), f"{n + 1}."]} for n in range(12)],
        }
    ),
}
"""Parameters that the tests try, and the files that these name."""


def bigbench(*, path: str, shots: int = 0, seed: int = 0, train_fraction: float = 0.0) -> Task:
    """The examples of a task.json, as `interp.measure.questions` scores them: `exact_match` for targets,
    `multiple_choice_grade`, `brier` and `calibration_error` for target_scores.

    Args:
        path: the JSON file, or the folder of a task with its task.json.
        shots: how many other examples of the file, answered, come before each question.
        seed: of the choice of these examples, and of the order in which the options are shown.
        train_fraction: share of the examples that may be learned from.

    text.metrics: the metrics that the file names. Of several targets each counts as right.

    Raises:
        InputError: the file, or a field of it, is not as the schema says; the message names both.
    """
    _check.whole("bigbench", "shots", shots, low=0)
    _check.whole("bigbench", "seed", seed, low=0)
    _check.text("bigbench", "path", path)
    file = _file(Path(path))
    data = _read(file)
    settings = {name: _field(data, name, str, path, default) for name, default in DEFAULTS.items()}
    settings["append_choices_to_input"] = _append_choices(data, path)
    _check_parent(data, file)
    items = _field(data, "examples", list, path)
    if not items:
        raise InputError(f"{path}: field 'examples' is empty")
    once: dict[str, int] = {}
    for index, item in enumerate(items):
        once.setdefault(json.dumps(item), index)
    bare = [_example(items[index], f"{path}: examples[{index}]") for index in once.values()]
    if shots >= len(bare):
        raise InputError(f"{path}: {shots} shots need more than the {len(bare)} examples there are")
    asked = [_ask(example, settings, seed) for example in bare]
    examples = [_with_shots(index, bare, asked, settings, shots, seed) for index in range(len(bare))]
    return examples_task(
        name="bigbench",
        params={"path": path, "shots": shots, "seed": seed, "train_fraction": train_fraction},
        examples=examples,
        train_fraction=train_fraction,
        protocol=_protocol(data, path),
        metrics=_metrics(data, path),
        title=str(data.get("name", Path(path).parent.name)),
    )


def _file(path: Path) -> Path:
    """The task.json of a folder, or the file itself."""
    if not path.is_dir() or (path / "task.json").is_file():
        return path / "task.json" if path.is_dir() else path
    raise InputError(f"{path} has no task.json{_sub_tasks(path)}")


def _check_parent(data: Mapping[str, Any], file: Path) -> None:
    """Raises InputError for the task.json of a parent, which has no examples but folders with sub-tasks beside it."""
    parts = "" if "examples" in data else _sub_tasks(file.parent)
    if parts:
        raise InputError(f"{file} has no examples of its own{parts}")


def _sub_tasks(folder: Path) -> str:
    parts = sorted(
        str(file.parent.relative_to(folder)) for file in folder.glob("**/task.json") if file.parent != folder
    )
    return f"; name one of its sub-tasks: {', '.join(parts)}" if parts else ""


def _read(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected an object with the field 'examples', got a {type(data).__name__}")
    return data


def _field(data: Mapping[str, Any], name: str, kind: type, where: str, default: Any = None) -> Any:
    """A field of the right type; the default where it is missing or null (an error where there is none)."""
    value = default if data.get(name) is None else data[name]
    if value is None:
        near = "" if name in data else nearest(name, (key for key in data if key not in DEFAULTS))
        raise InputError(f"{where}: field {name!r} is {'null' if name in data else 'missing'}{near}")
    if not isinstance(value, kind):
        raise InputError(f"{where}: field {name!r} should be a {kind.__name__}, not {type(value).__name__}")
    return value


def _metrics(data: Mapping[str, Any], path: str) -> tuple[str, ...]:
    metrics = _field(data, "metrics", list, path)
    if not metrics or not all(isinstance(metric, str) for metric in metrics):
        raise InputError(f"{path}: field 'metrics' should be a list of names, not {metrics!r}")
    return tuple(metrics)


def _append_choices(data: Mapping[str, Any], path: str) -> bool:
    """Whether the choices are shown; BIG-bench takes any text that is not empty for yes, "false" too."""
    value = data.get("append_choices_to_input")
    if not isinstance(value, str | int | float | None):
        raise InputError(f"{path}: field 'append_choices_to_input' should be a bool, not {type(value).__name__}")
    if isinstance(value, str):
        said = "true" if value else "false"
        warnings.warn(f"{path}: append_choices_to_input is the text {value!r}, which counts as {said}", stacklevel=4)
    return True if value is None else bool(value)


def _protocol(data: Mapping[str, Any], path: str) -> Protocol:
    """How outputs are cut: a field that is there, though empty, keeps the default pattern away."""
    stop, pattern = (_field(data, name, str, path, "") for name in ("stop_string", "output_regex"))
    if data.get("stop_string") is None and data.get("output_regex") is None:
        pattern = FIRST_SENTENCE
    try:
        n_groups = re.compile(pattern).groups
    except re.error as error:
        raise InputError(f"{path}: field 'output_regex' is no regular expression: {error}") from error
    if n_groups > 1:
        raise InputError(f"{path}: field 'output_regex' has {n_groups} groups, of which BIG-bench allows one")
    return Protocol(stop=(stop,) if stop else (), pattern=pattern or None, verbatim=True, max_new_tokens=MAX_NEW_TOKENS)


def _example(item: Any, where: str) -> Example:
    if not isinstance(item, dict):
        raise InputError(f"{where}: expected an object, got a {type(item).__name__}")
    text = _field(item, "input", str, where)
    if "target" not in item and "target_scores" not in item:
        raise InputError(f"{where}: neither field 'target' nor field 'target_scores' is there")
    targets = _targets(item["target"], where) if "target" in item else ()
    scores = _scores(item["target_scores"], where) if "target_scores" in item else {}
    return Example(prompt=text, targets=targets, options=tuple(scores), scores=tuple(scores.values()))


def _targets(target: Any, where: str) -> tuple[str, ...]:
    """One target or several; numbers are taken as they are written."""
    listed = target if isinstance(target, list) else [target]
    good = [isinstance(entry, str | int | float) and not isinstance(entry, bool) for entry in listed]
    if not listed or not all(good):
        raise InputError(f"{where}: field 'target' should be a text or a list of texts, not {target!r}")
    return tuple(str(entry) for entry in listed)


def _scores(scores: Any, where: str) -> dict[str, float]:
    if not isinstance(scores, dict) or not scores:
        raise InputError(f"{where}: field 'target_scores' should map each choice to its score, not {scores!r}")
    for choice, score in scores.items():
        number = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
        if not number or (not choice and (score > 0 or len(scores) == 1)):
            raise InputError(f"{where}: field 'target_scores' gives the choice {choice!r} the score {score!r}")
    if "" in scores:
        warnings.warn(f"{where}: an empty choice is left out: nothing is won by it", stacklevel=5)
    return {choice: float(score) for choice, score in scores.items() if choice}


def _ask(example: Example, settings: Mapping[str, Any], seed: int) -> str:
    """The question with its choices (in an order that the question and the seed settle) up to where the answer
    begins."""
    choices = ""
    if example.options and settings["append_choices_to_input"]:
        order = torch.randperm(len(example.options), generator=generator(seed, "choices", example.prompt)).tolist()
        choices = "".join(settings["choice_prefix"] + example.options[i] for i in order)
    return settings["example_input_prefix"] + example.prompt + choices + settings["example_output_prefix"]


def _with_shots(
    index: int, bare: list[Example], asked: list[str], settings: Mapping[str, Any], shots: int, seed: int
) -> Example:
    """The example as the model reads it: the task's prefix, answered questions, the question."""
    shown = _others(index, len(bare), shots, seed)
    parts = [*(asked[other] + best_answer(bare[other]) for other in shown), asked[index]]
    prompt = settings["task_prefix"] + settings["few_shot_example_separator"].join(parts)
    example = bare[index]
    return Example(prompt=prompt, targets=example.targets, options=example.options, scores=example.scores)


def _others(index: int, n: int, shots: int, seed: int) -> list[int]:
    """`shots` of the n examples, none twice and not the one at `index`, in a random order; in time that does not grow
    with n."""
    if not shots:
        return []
    rng = generator(seed, "shots", index)
    found: dict[int, None] = {}
    while len(found) < shots and 2 * shots < n:  # few among many: what was drawn before is drawn anew
        other = int(torch.randint(n, (), generator=rng))
        if other != index:
            found[other] = None
    if len(found) < shots:
        found = dict.fromkeys(i for i in torch.randperm(n, generator=rng).tolist() if i != index)
    return list(found)[:shots]
