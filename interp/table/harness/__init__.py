"""Result files of evaluation harnesses as a table: lm-evaluation-harness, old layout (`{"acc": …, "acc_stderr": …}`) and
new (`{"acc,none": …}`), and lighteval (`config_general`).

A row's identity comes from all that made it (`identity`). A run's name is the model's, with its adapter; what else decides
the numbers (organisation, stage, quantisation, limit, chat template, …) is added to the names of runs that differ in it, so
that two different inputs never meet under one (run, step, task, measure). Only the same input measured twice counts once:
the file that sorts last is kept.
"""

from __future__ import annotations

import gzip
import json
import re
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from interp.errors import InputError
from interp.table.harness.identity import Origin, inputs_of, origin_of, shown, task_facts
from interp.table.harness.scores import mapping, scores_of, tasks_of

Row = dict[str, Any]
_NAMED = re.compile(r"\.json(?:\.gz)?$", re.IGNORECASE)


def read_harness(source: str | Path) -> pd.DataFrame:
    """Every score of every result file under `source` (a file or a folder), one row each, in the contract's columns.

    `accuracy`, `exact_match`, `ppl` and `brier` replace the harness's short names; a filter other than "none" stays in the
    measure's name (`exact_match,strict-match`). `n` is the effective number of samples and `tokens` those trained on,
    where the file gives them. `n_params` is the nominal size in the model's name. A number of shots above 0 becomes part
    of the run. Counts, placeholders and standard errors are no measures. A file that cannot be read, or holds a number
    that cannot be, is named in a warning and in `attrs["skipped"]`; the others are read.

    Raises:
        InputError: no JSON file there, or none of them holds results.
    """
    source = Path(source)
    files = [source] if source.is_file() else sorted(file for file in source.rglob("*") if _NAMED.search(file.name))
    if not files:
        raise InputError(
            f"no shards/*.parquet and no *.json under {str(source)!r}: neither a run directory nor harness logs "
            "(a tracker's: interp.read_logs)"
        )
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    for file in files:
        try:
            found = list(_rows(_log(file), file, source))
            if not found:
                raise ValueError("no scores in 'results'")
        except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
            reason = f"broken JSON, {error}" if isinstance(error, json.JSONDecodeError) else str(error)
            skipped[str(file)] = reason
            continue
        rows += found
    for name, reason in skipped.items():
        warnings.warn(f"skipped {name}: {reason}", stacklevel=2)
    if not rows:
        name, reason = next(iter(skipped.items()))
        raise InputError(
            f"no harness results in the {len(files)} JSON files under {str(source)!r}; first: {name}: {reason}"
        )
    frame = pd.DataFrame(_told_apart(rows))
    frame.attrs["skipped"] = skipped
    return frame


def _log(file: Path) -> Any:
    data = file.read_bytes()
    if file.name.lower().endswith(".gz"):
        data = gzip.decompress(data)
    return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names stand once each."""
    found = dict(pairs)
    if len(found) < len(pairs):
        name = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise ValueError(f"{name!r} stands twice in one object")
    return found


def _rows(log: Any, file: Path, source: Path) -> Iterator[Row]:
    results = log.get("results") if isinstance(log, Mapping) else None
    if not isinstance(results, Mapping) or not results:
        raise ValueError("no 'results'")
    if not any(isinstance(scores, Mapping) for scores in results.values()):
        raise ValueError("'results' holds no scores by task")
    origin = origin_of(log, file, source)
    if odd := [str(task) for task, scores in results.items() if not isinstance(scores, Mapping)]:
        warnings.warn(f"{file}: no scores by measure for {', '.join(odd)}: left out", stacklevel=2)
    input_of = inputs_of(log)
    for task, scores in tasks_of(results, mapping(log.get("groups"))):
        name, shots, facts, examples = task_facts(log, task)
        about = {"origin": origin, "shots": shots, "about_task": facts, "state": {**origin.state, **examples}}
        about["input"] = input_of(task)
        for score in scores_of(log, task, scores):
            yield {**about, "task": name, **score}


def _told_apart(rows: list[Row]) -> list[Row]:
    """The rows with the names of their runs: as short as tells every two inputs apart."""
    added: list[dict[str, str]] = [{} for _ in rows]
    for of_row, facts_of in (
        (lambda row, _: row["origin"].name, lambda row: row["origin"].facts),
        (lambda row, _: (row["origin"].name, row["task"]), lambda row: row["about_task"]),
        # A checkpoint's own facts differ from step to step: they tell apart only what would meet. So do its examples.
        (_place, lambda row: row["state"]),
        (_place, lambda row: row["input"]),
    ):
        keys = [of_row(row, extra) for row, extra in zip(rows, added, strict=True)]
        _add_what_varies(rows, added, keys, facts_of)
    named = {}
    for row, extra in zip(rows, added, strict=True):
        named[_place(row, extra)] = _finished(row, extra)
    return list(named.values())


def _place(row: Row, extra: Mapping[str, str]) -> Hashable:
    origin: Origin = row["origin"]
    return origin.name, origin.step, row["shots"], row["task"], row["measure"], tuple(sorted(extra.items()))


def _add_what_varies(
    rows: list[Row],
    added: list[dict[str, str]],
    keys: list[Hashable],
    facts_of: Callable[[Row], Mapping[str, str]],
) -> None:
    """To each row's extra, the facts that have more than one value among the rows of its key ("" where absent)."""
    values: dict[Hashable, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    counts: dict[Hashable, int] = defaultdict(int)
    present: dict[tuple[Hashable, str], int] = defaultdict(int)
    for row, key in zip(rows, keys, strict=True):
        counts[key] += 1
        for fact, value in facts_of(row).items():
            values[key][fact].add(value)
            present[key, fact] += 1
    for row, extra, key in zip(rows, added, keys, strict=True):
        facts = facts_of(row)
        for fact, seen in values[key].items():
            varies = len(seen) > 1 or present[key, fact] < counts[key]
            if varies and fact in facts:
                extra[fact] = facts[fact]


def _finished(row: Row, extra: Mapping[str, str]) -> Row:
    origin: Origin = row["origin"]
    suffix = "".join(f"/{shown(fact, value)}" for fact, value in sorted(extra.items()) if fact != "model")
    suffix += f"/{row['shots']}shot" if row["shots"] else ""
    # The model's full name takes the place of the short one where two models share that.
    full = extra.get("model")
    return {
        "run": (full if full else origin.name) + suffix,
        "step": origin.step,
        "family": origin.family,
        "size": origin.size,
        "n_params": origin.n_params,
        "setting": origin.setting(full) + suffix,
        "seed": origin.seed,
        "tokens": origin.tokens,
        "kind": "behaviour",
        **{column: row[column] for column in ("task", "measure", "value", "stderr", "n")},
    }
