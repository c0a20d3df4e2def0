"""A skill from a file: JSONL or CSV of prompts with answers or options, and perhaps the group that each belongs to.

The recommendation and recidivism experiments of Ganguli et al. 2022 (arXiv 2202.07785, §2.2-2.3) have this form.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interp import plugins
from interp.errors import InputError, nearest
from interp.tasks import _check
from interp.tasks._examples import examples_task
from interp.types import Example, Protocol, Task

Row = Mapping[str, Any]

TRIED: tuple[dict[str, Any], ...] = ({"path": "rows.jsonl"}, {"path": "rows.csv", "train_fraction": 0.5})
FILES = {
    "rows.jsonl": "\n".join(
        json.dumps({"prompt": f"What is {n} and {n}?", "answer": f" {2 * n}", "group": "ab"[n % 2]}) for n in range(20)
    ),
    "rows.csv": "\n".join(
        [
            "prompt,answer,options,group",
            *(f"Is {n} large?,{' yes' if n > 9 else ' no'}, yes| no,{'ab'[n % 2]}" for n in range(20)),
        ]
    ),
}
"""Parameters that the tests try, and the files that these name."""


def from_file(
    *,
    path: str,
    prompt: str = "prompt",
    answer: str = "answer",
    options: str = "options",
    group: str = "group",
    positive: str | None = None,
    reference: str | None = None,
    score: str | None = None,
    n_samples: int = 1,
    max_new_tokens: int = 32,
    stop: str = "\n",
    train_fraction: float = 0.0,
) -> Task:
    """The rows of a file, as `interp.measure.questions` scores them.

    With options: accuracy by log-likelihood. With answers only: exact match of greedy generation, and the root mean
    squared error where every answer is a number. With groups: accuracy by group; with `positive` too, the
    false-positive rate of each group and its ratio to that of the group `reference` (the first one named in the file,
    if None). With `score`: samples, scored.

    Args:
        path: a file that ends in .jsonl or .csv.
        prompt, answer, options, group: the names of the columns; the last two may be missing in the file, and the
            answer where `score` is given. Options are a list (in CSV: a JSON list, or texts separated by "|"), the
            answer one of them.
            Answers and options are continuations: where the prompt does not end in white space, begin them with a
                space.
        positive: the option that counts as positive.
        score: "package.module:function", called with the prompt and one output, gives a number; n_samples a prompt
            are drawn.
        stop: generation ends before this text.
        train_fraction: share of the rows that may be learned from.

    Raises:
        InputError: the file or a row of it is not as described; the message names the file, the row and the column.
    """
    columns = {"prompt": prompt, "answer": answer, "options": options, "group": group}
    for what, value in {"path": path, "stop": stop, **columns}.items():
        _check.text("from_file", what, value)
    _check.whole("from_file", "n_samples", n_samples, low=1)
    _check.whole("from_file", "max_new_tokens", max_new_tokens, low=1)
    rows = _rows(Path(path))
    examples = [_example(row, columns, where, open_ended=score is not None) for where, row in rows]
    _check_choice(path, "positive", positive, [option for example in examples for option in example.options])
    _check_choice(path, "reference", reference, [example.group for example in examples if example.group is not None])
    free = [example.targets for example in examples if not example.options]
    return examples_task(
        name="from_file",
        params={
            "path": path,
            **columns,
            "positive": positive,
            "reference": reference,
            "score": score,
            "n_samples": n_samples,
            "max_new_tokens": max_new_tokens,
            "stop": stop,
            "train_fraction": train_fraction,
        },
        examples=examples,
        train_fraction=train_fraction,
        protocol=Protocol(
            stop=(stop,) if stop else (),
            max_new_tokens=max_new_tokens,
            numeric=bool(free) and all(len(targets) == 1 and _is_number(targets[0]) for targets in free),
            positive=positive,
            reference=reference,
            score=None if score is None else _scorer(score),
            n_samples=n_samples,
        ),
    )


def _rows(path: Path) -> list[tuple[str, Row]]:
    """The rows with where they are, for messages."""
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv}
    if path.suffix not in readers:
        raise InputError(f"{path}: expected a file that ends in .jsonl or .csv")
    try:
        rows = readers[path.suffix](path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}") from error
    if not rows:
        raise InputError(f"{path} has no rows")
    return rows


def _read_jsonl(path: Path) -> list[tuple[str, Row]]:
    rows: list[tuple[str, Row]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: expected an object, got a {type(row).__name__}")
        rows.append((f"{path}, line {number}", row))
    return rows


def _read_csv(path: Path) -> list[tuple[str, Row]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows: list[tuple[str, Row]] = []
        reader = csv.DictReader(file)
        twice = [name for name, n in Counter(reader.fieldnames or ()).items() if n > 1]
        if twice:
            raise InputError(f"{path}: the column {twice[0]!r} is there twice")
        for row in reader:
            number = len(rows) + 2
            if None in row or None in row.values():
                raise InputError(f"{path}, row {number}: not as many columns as the header names")
            rows.append((f"{path}, row {number}", {name: value for name, value in row.items() if value != ""}))
    return rows


def _example(row: Row, columns: Mapping[str, str], where: str, *, open_ended: bool) -> Example:
    prompt = _text(row, columns["prompt"], where)
    group = str(row[columns["group"]]) if columns["group"] in row else None
    if columns["answer"] not in row and open_ended:
        return Example(prompt=prompt, group=group)
    listed = row[columns["answer"]] if isinstance(row.get(columns["answer"]), list) else None
    answers = tuple(map(str, listed)) if listed else (_text(row, columns["answer"], where),)
    if columns["options"] not in row:
        return Example(prompt=prompt, targets=answers, group=group)
    options = _options(row[columns["options"]], f"{where}, column {columns['options']!r}")
    if not set(answers) <= set(options):
        raise InputError(f"{where}: the answer {answers[0]!r} is none of the options {list(options)!r}")
    scores = tuple(float(option in answers) for option in options)
    return Example(prompt=prompt, options=options, scores=scores, group=group)


def _text(row: Row, column: str, where: str) -> str:
    value = row.get(column)
    if value is None and column in row:
        raise InputError(f"{where}: column {column!r} is null")
    if value is None:
        raise InputError(f"{where}: no column {column!r}{nearest(column, row)}")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{where}: column {column!r} should be a text or a number, not {value!r}")
    return str(value)


def _options(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip().startswith("[") else value.split("|")
        except json.JSONDecodeError as error:
            raise InputError(f"{where} is no JSON list: {error}") from error
    if not isinstance(value, list) or len(value) < 2 or len({*map(str, value), ""}) <= len(value):
        raise InputError(f"{where} should list two or more different options, not {value!r}")
    return tuple(map(str, value))


def _check_choice(path: str, name: str, value: str | None, present: list[str]) -> None:
    if value is not None and value not in present:
        raise InputError(f"{path}: {name} {value!r} is not in the file{nearest(value, dict.fromkeys(present))}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _scorer(score: str) -> Any:
    if ":" not in score:
        raise InputError(f"from_file: score is named package.module:function, not {score!r}")
    return plugins.load("tasks", score)
