"""What a list of answered questions comes to: rows of means, over all of them and group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from interp.measure.scoring import calibration_error, mean, ratio, rmse
from interp.types import Estimate, Example, Protocol

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

Row = dict[str, Any]

UNITS = {
    "brier": "squared probability",
    "calibration_error": "probability",
    "edit_distance": "characters",
    "log_prob": "nats",
    "log_prob_per_token": "nats",
    "option_prob": "probability",
    "prob": "probability",
    "rmse": "answer's unit",
    "score": "score",
    "false_positive_rate_ratio": "ratio",
}
"""All other measures are shares."""

_NO_MEANS = ("confidence", "right", "error", "false_positive")
"""Scores that other measures are made of."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What a model said to a list of questions.

    scores: by name, Float[example]; NaN where the question does not define it.
    n_tokens: how many tokens the model read, and at most wrote, for it.
    """

    examples: tuple[Example, ...]
    scores: Mapping[str, Float[Tensor, "example"]]
    n_tokens: int


def rows_of(answers: Answers, protocol: Protocol) -> list[Row]:
    """Rows of measure, group ("" for all together), value, stderr, n and unit."""
    rows = [row for group in ("", *groups_of(answers.examples)) for row in _summary(answers, group)]
    ratios = false_positive_ratios(answers, protocol)
    return rows + [_row("false_positive_rate_ratio", group, estimate) for group, estimate in ratios.items()]


def groups_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """The groups that the questions belong to, in order."""
    return tuple(dict.fromkeys(example.group for example in examples if example.group is not None))


def in_group(examples: Sequence[Example], group: str) -> Bool[Tensor, "example"]:
    """Which questions belong to a group; "" is all of them."""
    return torch.tensor([not group or example.group == group for example in examples], dtype=torch.bool)


def false_positive_ratios(answers: Answers, protocol: Protocol) -> dict[str, Estimate]:
    """Each group's false-positive rate over that of the reference group (the first one, where none is named); empty
    where there is no positive option or no group."""
    groups = groups_of(answers.examples)
    if "false_positive" not in answers.scores or not groups:
        return {}
    column = answers.scores["false_positive"]
    rates = {group: mean(column[in_group(answers.examples, group)]) for group in groups}
    reference = protocol.reference or groups[0]
    return {group: ratio(rate, rates[reference]) for group, rate in rates.items() if group != reference}


def _summary(answers: Answers, group: str) -> list[Row]:
    """Means over the group's examples that have the measure."""
    here = in_group(answers.examples, group)
    scores = {name: column[here] for name, column in answers.scores.items()}
    rows = [
        _row(name, group, mean(column))
        for name, column in scores.items()
        if name not in _NO_MEANS and not bool(column.isnan().all())
    ]
    if "confidence" in scores and not bool(scores["confidence"].isnan().all()):
        rows.append(_row("calibration_error", group, calibration_error(scores["confidence"], scores["right"])))
    if "error" in scores and not bool(scores["answered"].isnan().all()):
        rows.append(_row("rmse", group, rmse(scores["error"])))
    if group and "false_positive" in scores:
        rows.append(_row("false_positive_rate", group, mean(scores["false_positive"])))
    return rows


def _row(measure: str, group: str, estimate: Estimate) -> Row:
    return {
        "measure": measure,
        "group": group,
        "value": estimate.value,
        "stderr": estimate.stderr,
        "n": estimate.n,
        "unit": UNITS.get(measure, "share"),
    }
