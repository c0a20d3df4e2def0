"""What a result file holds of numbers: which are scores, their standard errors, and over how many samples."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

# The harness's short names, in the names that the rest of the library uses.
MEASURES = {"acc": "accuracy", "em": "exact_match", "perplexity": "ppl", "brier_score": "brier"}

NO_MEASURES = {
    "", "alias", "name", "bypass", "n", "nsamples", "samples", "sample_len", "count", "total", "original", "effective", "version",
    "shots", "fewshot", "n-shot", "nshot", "seed", "random_seed", "step", "steps", "global_step", "train_step", "iteration", "epoch",
    "limit", "lr", "learning_rate", "support", "instances", "throughput", "truncated", "non_truncated", "padded", "non_padded",
    "batch_size", "weight", "size", "flops", "date", "timestamp",
}  # fmt: skip
"""Placeholders (`bypass` = 999 is what `--predict_only` writes), counts and labels that stand among the scores."""
_NO_MEASURE = re.compile(
    r"^(?:n|num|number_of)_|(?:^|[_-])(?:samples|sample_count|examples|docs|documents|count)$"
    r"|^(?:total|prompt|completion|input|output|generated)[_-](?:tokens|questions|time)$|^samples?[_-](?:size|evaluated)$"
    r"|(?:^|[_-])(?:time|runtime|seconds|secs|hours|elapsed|duration|latency|walltime)(?:[_-](?:s|ms|sec|secs|seconds))?$"
    r"|[_-]per[_-]sec(?:ond)?$|(?:^|[_-])memory(?:[_-](?:mb|gb|bytes))?$|^(?:elapsed|latency|duration)[_-]",
    re.IGNORECASE,
)
"""Counts and times by the names that people give them."""

# stderr, std_err, std_error, standard_error, se, sem: errors of the mean. std, ci, conf…: spreads of something else.
_ERROR = re.compile(
    r"[_\-. /:]*(?:std|standard)[_\-. ]?(?:err|error)s?(?:[_\-. @].*)?$|[_\-. ](?:sem?|s\.e\.?|sterr)$", re.IGNORECASE
)
_ERROR_AHEAD = re.compile(r"^(?:std|standard)[_\-. ]?(?:err|error)[_\-. (/:]+(.+?)\)?$", re.IGNORECASE)
_SPREAD = re.compile(
    r"[_\-. (]+(?:\d+%?[_ ]?)?(?:(?:bootstrap|pop|sample)[_ ])?"
    r"(?:std|stdev|std_?dev|standard_deviation|sd|var|variance|ci|conf|confidence|interval|lower|upper|q(?=\d)|err|error|"
    r"stderr|moe|margin|uncertainty|±)(?:[_ ]?(?:low|lower|high|upper|bound|int|interval|of_error|level|pop|\d+))*\)?$",
    re.IGNORECASE,
)


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` where it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def tasks_of(results: Mapping[str, Any], groups: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The scores of every task and group, also of tasks that are listed inside their group. A task that is listed twice
    with other numbers is named with its group."""
    seen: dict[str, dict[str, float]] = {}
    for path, scores in (*_walk(results, ()), *_walk(groups, ("groups",))):
        task = path[-1]
        numbers = {key: number for key, value in scores.items() if (number := _number(value)) is not None}
        if task in seen and numbers and seen[task] != numbers:
            task = "/".join(path) if seen[task] else task
        if task not in seen or not seen[task]:
            seen[task] = numbers
            yield task, scores


def _walk(results: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for task, scores in results.items():
        if isinstance(scores, Mapping):
            yield (*above, str(task)), scores
            yield from _walk(scores, (*above, str(task)))


def scores_of(log: Mapping[str, Any], task: str, scores: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """measure, value, stderr and n of every score; NaN where a number is missing.

    Raises:
        ValueError: a negative standard error, or a number too large to be one.
    """
    errors = _errors(scores)
    n = _n_samples(log, task, scores)
    known = Counter(_name(key) for key in scores)
    for key, value in scores.items():
        metric, _, selected = key.partition(",")
        is_error = key in errors.values() or _error_of(metric) is not None
        value = _number(value)
        if is_error or value is None or _is_no_measure(metric) or _is_spread(metric, scores):
            continue
        name = key if known[_name(key)] > 1 else _name(key)  # "acc" beside "accuracy"
        error: Any = scores[errors[metric, selected]] if (metric, selected) in errors else None
        stderr = math.nan if (number := _number(error)) is None else _finite(number)
        if stderr < 0:
            raise ValueError(f"the standard error of {key!r} is {stderr}")
        yield {"measure": name, "value": _finite(value), "stderr": stderr, "n": n}


def _name(key: str) -> str:
    metric, _, selected = key.partition(",")
    return MEASURES.get(metric, metric) + (f",{selected}" if selected not in ("", "none") else "")


def _number(value: Any) -> float | None:
    """A number, also where it stands as text or in percent; None for anything else."""
    if isinstance(value, str):
        try:
            return float(value.strip().removesuffix("%")) / (100 if value.strip().endswith("%") else 1)
        except ValueError:
            return None
    return value if is_number(value) else None


def _is_no_measure(metric: str) -> bool:
    return metric.lower() in NO_MEASURES or _NO_MEASURE.search(metric) is not None


def _errors(scores: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """(metric, filter) -> the key of its standard error, however that is spelled."""
    found: dict[tuple[str, str], str] = {}
    for key in scores:
        metric, _, selected = key.partition(",")
        base = _error_of(metric)
        if base is not None:
            found.setdefault((base, selected), key)
    return found


def _error_of(metric: str) -> str | None:
    """The metric whose standard error this one is by its name; None where it is none."""
    if ahead := _ERROR_AHEAD.match(metric):
        return ahead[1]
    base = _ERROR.sub("", metric)
    return base if base != metric else None


def _is_spread(metric: str, scores: Mapping[str, Any]) -> bool:
    """A spread or bound of a metric that stands beside it."""
    bases = {_SPREAD.sub("", metric), re.sub(r"^(?:std|stdev|sd|se|var|ci|err)_", "", metric)} - {metric}
    return any(key.partition(",")[0] in bases for key in scores)


def _finite(value: float) -> float:
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError as error:
        raise ValueError("a number too large to be one") from error


def _n_samples(log: Mapping[str, Any], task: str, scores: Mapping[str, Any]) -> float:
    count: Any = mapping(log.get("n-samples")).get(task)
    if isinstance(count, Mapping):
        count = count.get("effective", count.get("original"))
    if count is None:
        count = next(
            (scores[key] for key in ("samples", "n_samples", "num_samples", "sample_len") if key in scores), None
        )
    return float(count) if is_number(count) and count > 0 else math.nan
