"""Scores: what logits, answers and choices are worth, each defined once for measures, patching, circuits and lenses.

Logits are Float[…, prompt, answer_len, vocab]: those that predict each answer token after the right ones before it, of
one run or of several in front. Answers are Int[prompt] or Int[prompt, answer_len], padded on the right with -1. A score
is one value a prompt, in float64 (in float32 the loss of a well-fitted model underflows), and NaN where a prompt
defines none: an absent answer is neither right nor wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from interp.types import Estimate

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    Logits = Float[Tensor, "*run prompt answer_len vocab"]
    Answer = Int[Tensor, "prompt"] | Int[Tensor, "prompt answer_len"]
    Values = Float[Tensor, "*run prompt"]


def log_softmax(logits: Float[Tensor, "... vocab"]) -> Float[Tensor, "... vocab"]:
    """Log-probabilities in nats."""
    return logits.double().log_softmax(dim=-1)


def pick(values: Float[Tensor, "... vocab"], tokens: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The value at each token, the same tokens in every run; NaN where there is no token (-1)."""
    tokens = tokens.to(values.device).expand(values.shape[:-1])
    picked = values.gather(-1, tokens.clamp(min=0)[..., None])[..., 0]
    return picked.masked_fill(tokens < 0, math.nan)


def exact_match(logits: Logits, answer: Answer) -> Values:
    """1 where every answer token has the largest logit: greedy decoding gives the answer."""
    answer = _on(logits, answer)
    right = ((logits.argmax(-1) == answer) | (answer < 0)).all(-1).double()
    return _where_answered(right, answer)


def token_accuracy(logits: Logits, answer: Answer) -> Values:
    """Share of the answer's tokens that have the largest logit, each after the right ones before it."""
    answer = _on(logits, answer)
    return (logits.argmax(-1) == answer).double().masked_fill(answer < 0, math.nan).nanmean(-1)


def edit_distance(logits: Float[Tensor, "prompt answer_len vocab"], answer: Answer) -> Float[Tensor, "prompt"]:
    """Levenshtein distance, in tokens, from the tokens with the largest logits to the answer's."""
    answer = _on(logits, answer)
    rows = zip(logits.argmax(-1), answer, strict=True)
    distances = [_levenshtein(guess[right >= 0].tolist(), right[right >= 0].tolist()) for guess, right in rows]
    return _where_answered(torch.tensor(distances, dtype=torch.float64, device=answer.device), answer)


def log_prob(logits: Logits, answer: Answer) -> Values:
    """ln p(answer | prompt) in nats: the sum over the answer's tokens."""
    answer = _on(logits, answer)
    return _where_answered(token_log_probs(logits, answer).nansum(-1), answer)


def log_prob_per_token(logits: Logits, answer: Answer) -> Values:
    """ln p(answer | prompt) / number of answer tokens, in nats."""
    return token_log_probs(logits, answer).nanmean(-1)


def prob(logits: Logits, answer: Answer) -> Values:
    """p(answer | prompt), the product over the answer's tokens: how often sampling gives the answer."""
    return log_prob(logits, answer).exp()


def token_log_probs(logits: Logits, answer: Answer) -> Float[Tensor, "*run prompt answer_len"]:
    """ln p of each answer token after the right ones before it, in nats; NaN after the last."""
    return pick(log_softmax(logits), columns(answer))


def logit_diff(logits: Logits, answer: Answer, wrong: Answer) -> Values:
    """logit(answer) − logit(wrong) at the first token in which they differ; NaN where none does or one of them has
    ended."""
    first, pair, differ = contrast(_on(logits, answer), _on(logits, wrong))
    prompts = torch.arange(len(first), device=first.device)
    there = logits[..., prompts, first, :]
    right, other = (pick(there, token).double() for token in pair.unbind(-1))
    return (right - other).masked_fill(~differ, math.nan)


def contrast(
    answer: Answer, wrong: Answer
) -> tuple[Int[Tensor, "prompt"], Int[Tensor, "prompt 2"], Bool[Tensor, "prompt"]]:
    """Where right and wrong answer first differ, their tokens there (0 where there is none), and whether they do."""
    answer, wrong = columns(answer), columns(wrong)
    width = min(answer.shape[1], wrong.shape[1])
    answer, wrong = answer[:, :width], wrong[:, :width]
    differ = (answer != wrong) & (answer >= 0) & (wrong >= 0)
    first, prompts = differ.long().argmax(1), torch.arange(len(differ), device=differ.device)
    return first, torch.stack([answer[prompts, first], wrong[prompts, first]], dim=-1).clamp(min=0), differ.any(1)


def kl(logits: Logits, answer: Answer, reference: Float[Tensor, "prompt answer_len vocab"]) -> Values:
    """KL(reference ‖ this run) of the next-token distributions, in nats, summed over the answer's tokens."""
    answer = _on(logits, answer)
    before, after = log_softmax(reference), log_softmax(logits)
    found = (before.exp() * (before - after)).sum(-1)
    return _where_answered(found.masked_fill(answer < 0, 0.0).sum(-1), answer)


def brier(logits: Logits, answer: Answer) -> Values:
    """Σ_tokens (p(token) − [token is right])² over the vocabulary, mean over the answer's tokens: 0 … 2 (Brier
    1950)."""
    probs = log_softmax(logits).exp()
    return (probs.square().sum(-1) - 2 * pick(probs, columns(answer)) + 1).nanmean(-1)


def rank(logits: Logits, answer: Answer) -> Values:
    """Rank of the first answer token among the logits: 1 + how many are larger, ties counted half."""
    return token_rank(logits[..., 0, :], _on(logits, answer)[:, 0])


def token_rank(logits: Float[Tensor, "*run prompt vocab"], tokens: Int[Tensor, "prompt"]) -> Values:
    """1 + how many tokens have a larger logit, those with the same logit counted half; NaN where there is no token."""
    tokens = tokens.to(logits.device)
    own = pick(logits, tokens)[..., None]
    found = 0.5 + (logits > own).double().sum(-1) + (logits == own).double().sum(-1) / 2
    return found.masked_fill(tokens < 0, math.nan)


def mean(values: Float[Tensor, "example"]) -> Estimate:
    """Mean over independent examples, NaN ones left out. Of zeros and ones, the standard error is binomial."""
    values = values[~values.isnan()].double()
    n = len(values)
    if n == 0:
        return Estimate(math.nan, math.nan, 0)
    return Estimate(float(values.mean()), float(values.var(correction=0) / n) ** 0.5, n)


def sequence_mean(values: Float[Tensor, "scored"], scored: Bool[Tensor, "prompt pos"]) -> Estimate:
    """Mean over scored positions; its standard error takes the positions of a sequence together (clustered), for
    they depend on each other: sqrt(Σ_sequences (Σ_positions (x − mean))²)/N. `scored` says which positions the
    values belong to."""
    n = len(values)
    if n == 0:
        return Estimate(math.nan, math.nan, 0)
    values = values.double()
    sequence = scored.nonzero()[:, 0]
    residual = torch.zeros(len(scored), dtype=torch.float64).index_add(0, sequence, values - values.mean())
    return Estimate(float(values.mean()), float(residual.square().sum().sqrt() / n), n)


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


def _on(logits: Tensor, answer: Answer) -> Int[Tensor, "prompt answer_len"]:
    return columns(answer).to(logits.device)


def _where_answered(values: Tensor, answer: Int[Tensor, "prompt answer_len"]) -> Tensor:
    return values.masked_fill((answer < 0).all(-1), math.nan)


def _levenshtein(a: Sequence[object], b: Sequence[object]) -> int:
    """Insertions, deletions and substitutions that turn a into b: one row of the table at a time."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        previous, row = row, [i]
        for j, y in enumerate(b, start=1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (x != y)))
    return row[-1]
