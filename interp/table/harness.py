"""Result files of the lm-evaluation-harness as a table: the old layout (`{"acc": …, "acc_stderr": …}`) and the
new (`{"acc,none": …}`).

Run, size, seed and step come from `config.model_args` (`pretrained=…,revision=step1000`), else from the names
of file and folder. A file that cannot be read, or holds a number that cannot be, is named in a warning and in
`attrs["skipped"]`; the others are read, and commands that read such a folder exit with 0, with 2 where nothing is left.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from interp.errors import InputError

# The harness's short names, in the names that the rest of the library uses.
MEASURES = {"acc": "accuracy", "em": "exact_match", "perplexity": "ppl", "brier_score": "brier"}

_STEP = re.compile(r"(?:step|checkpoint|ckpt|iter)[-_]?(\d+)", re.IGNORECASE)
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([kmbt])(?![A-Za-z0-9])", re.IGNORECASE)
_SEED = re.compile(r"[-_]seed[-_]?(\d+)", re.IGNORECASE)
_UNIT = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def read_harness(source: str | Path) -> pd.DataFrame:
    """Every number of every result file under `source` (a file or a folder), one row each, in the contract's columns.

    `accuracy`, `exact_match`, `ppl` and `brier` replace the harness's short names; a filter other than "none"
    stays in the measure's name (`exact_match,strict-match`). `n` is the effective number of samples where the
    file gives it. `n_params` is the nominal size in the model's name. A number of shots above 0 becomes part
    of the run. Where a folder holds several files of the same run, step and task (a repeated evaluation), the
    one that sorts last is kept.

    Raises:
        InputError: no JSON file there, or none of them holds results.
    """
    source = Path(source)
    files = [source] if source.is_file() else sorted(source.rglob("*.json"))
    if not files:
        raise InputError(
            f"no shards/*.parquet and no *.json under {str(source)!r}: neither a run directory nor harness logs"
        )
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    skipped: dict[str, str] = {}
    for file in files:
        try:
            found = list(_rows(json.loads(file.read_text(encoding="utf-8-sig")), file))
            if not found:
                raise ValueError("no numbers in 'results'")
        except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
            reason = f"broken JSON, {error}" if isinstance(error, json.JSONDecodeError) else str(error)
            skipped[str(file)] = reason
            continue
        rows |= {(row["run"], row["step"], row["task"], row["measure"]): row for row in found}
    for name, reason in skipped.items():
        warnings.warn(f"skipped {name}: {reason}", stacklevel=2)
    if not rows:
        name, reason = next(iter(skipped.items()))
        raise InputError(
            f"no harness results in the {len(files)} JSON files under {str(source)!r}; first: {name}: {reason}"
        )
    frame = pd.DataFrame(list(rows.values()))
    frame.attrs["skipped"] = skipped
    return frame


def _rows(log: Any, file: Path) -> Iterator[dict[str, Any]]:
    results = log.get("results") if isinstance(log, Mapping) else None
    if not isinstance(results, Mapping) or not results:
        raise ValueError("no 'results'")
    if not any(isinstance(scores, Mapping) for scores in results.values()):
        raise ValueError("'results' holds no scores by task")
    given = _identity(log, file)
    for task, scores in _by_task({**_mapping(log.get("groups")), **results}):
        n = _n_samples(log, task)
        shots = _shots(log, task)
        run = given["run"] + (f"/{shots}shot" if shots else "")
        setting = given["setting"] + (f"/{shots}shot" if shots else "")
        for measure, value, stderr in _scores(scores):
            row = {"run": run, "task": str(task), "measure": measure, "value": value, "stderr": stderr, "n": n}
            yield {**given, **row, "setting": setting, "kind": "behaviour"}


def _by_task(results: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The scores of every task and group, also of tasks that are listed inside their group."""
    for task, scores in results.items():
        if isinstance(scores, Mapping):
            yield task, scores
            yield from _by_task(scores)


def _scores(scores: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    for key, value in scores.items():
        metric, _, selected = key.partition(",")
        if metric.endswith("_stderr") or not _is_number(value) or metric in ("", "alias", "sample_len", "sample_count"):
            continue
        error: Any = scores.get(f"{metric}_stderr" + (f",{selected}" if selected else ""))
        name = MEASURES.get(metric, metric) + (f",{selected}" if selected not in ("", "none") else "")
        spread = _finite(error) if _is_number(error) else math.nan
        if spread < 0:
            raise ValueError(f"the standard error of {key!r} is {spread}")
        yield name, _finite(value), spread


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: float) -> float:
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError as error:
        raise ValueError("a number too large to be one") from error


def _identity(log: Mapping[str, Any], file: Path) -> dict[str, Any]:
    config = _mapping(log.get("config"))
    arguments = _arguments(config.get("model_args"))
    name = arguments.get("pretrained") or arguments.get("path") or log.get("model_name") or file.parent.name
    name = str(name).rstrip("/")
    step = next(
        (
            int(match[-1])
            for text in (arguments.get("revision", ""), file.stem, name, str(file.parent))
            if (match := _STEP.findall(str(text)))
        ),
        None,
    )
    if step is None:
        raise ValueError("no step in config.model_args or in the file's name")
    if step >= 2**53:
        raise ValueError(f"step {step} is too large to be one")
    run = Path(_STEP.sub("", name).rstrip("/-_")).name or file.parent.name
    seed = _SEED.search(run)
    setting = _SEED.sub("", run)
    size = _SIZE.search(setting)
    return {
        "run": run,
        "step": step,
        "family": setting[: size.start()].rstrip("-_") if size else setting,
        "size": size[0] if size else "",
        "n_params": float(size[1]) * _UNIT[size[2].lower()] if size else math.nan,
        "setting": setting,
        "seed": int(seed[1]) if seed else 0,
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _arguments(text: Any) -> dict[str, str]:
    if isinstance(text, Mapping):
        return {str(name): str(value) for name, value in text.items()}
    parts = [part.partition("=") for part in str(text or "").split(",")]
    return {name.strip(): value.strip() for name, _, value in parts if value}


def _n_samples(log: Mapping[str, Any], task: str) -> float:
    count: Any = _mapping(log.get("n-samples")).get(task)
    if isinstance(count, Mapping):
        count = count.get("effective", count.get("original"))
    return float(count) if _is_number(count) and count > 0 else math.nan


def _shots(log: Mapping[str, Any], task: str) -> int:
    by_task = _mapping(log.get("n-shot"))
    shots: Any = by_task[task] if task in by_task else _mapping(log.get("config")).get("num_fewshot")
    return int(shots) if _is_number(shots) else 0
