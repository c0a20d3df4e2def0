"""Behaviour as pure functions of logits and answers: one value a prompt, and their mean with its standard error.

Logits are Float[prompt, answer_len, vocab]: those that predict each answer token after the right ones before it.
Answers are Int[prompt] or Int[prompt, answer_len], padded on the right with -1. Values are NaN where a prompt defines
none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from interp.measure.scores import log_softmax, mean, pick
from interp.measure.scores import rank as rank_among
from interp.types import Estimate

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    Logits = Float[Tensor, "prompt answer_len vocab"]
    Answer = Int[Tensor, "prompt"] | Int[Tensor, "prompt answer_len"]

__all__ = [
    "Estimate",
    "brier",
    "calibration_error",
    "edit_distance",
    "exact_match",
    "log_prob",
    "log_prob_per_token",
    "logit_diff",
    "mean",
    "option_brier",
    "prob",
    "rank",
    "ratio",
    "rmse",
    "text_edit_distance",
    "token_accuracy",
]


def exact_match(logits: Logits, answer: Answer) -> Float[Tensor, "prompt"]:
    """1 where every answer token has the largest logit: greedy decoding gives the answer."""
    answer = columns(answer)
    right = ((logits.argmax(-1) == answer) | (answer < 0)).all(1).double()
    return right.masked_fill((answer < 0).all(1), math.nan)


def token_accuracy(logits: Logits, answer: Answer) -> Float[Tensor, "prompt"]:
    """Share of the answer's tokens that have the largest logit, each after the right ones before it."""
    answer = columns(answer)
    right = (logits.argmax(-1) == answer).double().masked_fill(answer < 0, math.nan)
    return right.nanmean(1)


def edit_distance(logits: Logits, answer: Answer) -> Float[Tensor, "prompt"]:
    """Levenshtein distance, in tokens, from the tokens with the largest logits to the answer's."""
    answer = columns(answer)
    guesses = logits.argmax(-1)
    distances = [
        _levenshtein(guess[right >= 0].tolist(), right[right >= 0].tolist())
        for guess, right in zip(guesses, answer, strict=True)
    ]
    return torch.tensor(distances, dtype=torch.float64)


def log_prob(logits: Logits, answer: Answer) -> Float[Tensor, "prompt"]:
    """ln p(answer | prompt) in nats: the sum over the answer's tokens."""
    found = _token_log_probs(logits, answer)
    return found.nansum(1).masked_fill(found.isnan().all(1), math.nan)


def log_prob_per_token(logits: Logits, answer: Answer) -> Float[Tensor, "prompt"]:
    """ln p(answer | prompt) / number of answer tokens, in nats."""
    return _token_log_probs(logits, answer).nanmean(1)


def prob(logits: Logits, answer: Answer) -> Float[Tensor, "prompt"]:
    """p(answer | prompt), the product over the answer's tokens: how often sampling gives the answer."""
    return log_prob(logits, answer).exp()


def logit_diff(logits: Logits, answer: Answer, wrong: Answer) -> Float[Tensor, "prompt"]:
    """logit(answer) − logit(wrong) at the first token in which they differ; NaN where none does or one of them has
    ended."""
    answer, wrong = columns(answer), columns(wrong)
    first = (answer != wrong).long().argmax(1, keepdim=True)
    right, other = (pick(logits.double(), tokens).gather(1, first)[:, 0] for tokens in (answer, wrong))
    return (right - other).masked_fill((answer == wrong).all(1), math.nan)


def brier(logits: Logits, answer: Answer) -> Float[Tensor, "prompt"]:
    """Σ_tokens (p(token) − [token is right])² over the vocabulary, mean over the answer's tokens: 0 … 2 (Brier
    1950)."""
    probs = log_softmax(logits).exp()
    return (probs.square().sum(-1) - 2 * pick(probs, columns(answer)) + 1).nanmean(1)


def rank(logits: Logits, answer: Answer) -> Float[Tensor, "prompt"]:
    """Rank of the first answer token among the logits: 1 is the top, ties count half."""
    return rank_among(logits[:, 0], columns(answer)[:, 0])


def option_brier(log_probs: Float[Tensor, "option"], scores: Float[Tensor, "option"]) -> float:
    """Σ_options (p − s)², p the softmax of the options' log-probabilities, s their scores scaled to a sum of 1.

    NaN where no option has a score.
    """
    total = float(scores.sum())
    if total <= 0:
        return math.nan
    return float((log_probs.double().softmax(0) - scores.double() / total).square().sum())


def calibration_error(
    confidence: Float[Tensor, "prediction"],
    right: Bool[Tensor, "prediction"] | Float[Tensor, "prediction"],
    *,
    bins: int = 15,
) -> Estimate:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599): Σ_bins |share right − mean confidence| · share
    of the bin.

    Bins are of equal width. The standard error is the jackknife's over predictions. Those whose confidence is NaN are
    left out.
    """
    known = ~confidence.isnan()
    confidence, right = confidence[known], right[known]
    n = len(confidence)
    if n == 0:
        return Estimate(math.nan, math.nan, 0)
    gap = right.double() - confidence.double()
    place = (confidence.double() * bins).long().clamp(0, bins - 1)
    sums = torch.zeros(bins, dtype=torch.float64).index_add(0, place, gap)
    total = sums.abs().sum()
    if n == 1:
        return Estimate(float(total), math.nan, 1)
    without = (total - sums[place].abs() + (sums[place] - gap).abs()) / (n - 1)
    spread = (without - without.mean()).square().sum() * (n - 1) / n
    return Estimate(float(total) / n, float(spread) ** 0.5, n)


def rmse(errors: Float[Tensor, "prediction"]) -> Estimate:
    """Root of the mean squared error over the predictions that are not NaN; standard error by the delta method."""
    squared = mean(errors.double().square())
    root = squared.value**0.5
    return Estimate(root, squared.stderr / (2 * root) if root > 0 else squared.stderr, squared.n)


def ratio(numerator: Estimate, denominator: Estimate) -> Estimate:
    """The ratio of two independent estimates, with the delta method's standard error; NaN where the denominator is
    0."""
    n = numerator.n + denominator.n
    if not denominator.value:
        return Estimate(math.nan, math.nan, n)
    value = numerator.value / denominator.value
    spread = numerator.stderr**2 + (value * denominator.stderr) ** 2
    return Estimate(value, spread**0.5 / abs(denominator.value), n)


def text_edit_distance(guess: str, answer: str) -> int:
    """Levenshtein distance in characters."""
    return _levenshtein(guess, answer)


def columns(answer: Answer) -> Int[Tensor, "prompt answer_len"]:
    """Answers of one token as a column."""
    return answer[:, None] if answer.ndim == 1 else answer


def _token_log_probs(logits: Logits, answer: Answer) -> Float[Tensor, "prompt answer_len"]:
    return pick(log_softmax(logits), columns(answer))


def _levenshtein(a: Sequence[object], b: Sequence[object]) -> int:
    """Insertions, deletions and substitutions that turn a into b: one row of the table at a time."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        previous, row = row, [i]
        for j, y in enumerate(b, start=1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (x != y)))
    return row[-1]
