"""Text questions put to a model: options by log-likelihood, free answers by greedy generation, open-ended ones by a
score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError
from interp.measure.answers import finished, guess_in, number
from interp.measure.continuations import encode, generate, log_likelihoods
from interp.measure.scoring import option_brier, text_edit_distance
from interp.measure.summary import Answers, Row, rows_of
from interp.models.running import evaluating
from interp.seeds import generator
from interp.tasks._tokenizer import encode_pair
from interp.types import Example, Protocol

if TYPE_CHECKING:
    from torch import Generator

    from interp.models import Model
    from interp.types import Task


def evaluate(
    model: Model,
    examples: Sequence[Example],
    tokenizer: Any = None,
    *,
    protocol: Protocol | None = None,
    rng: Generator | None = None,
) -> list[Row]:
    """Rows of measure, group ("" for all together), value, stderr, n and unit.

    Of questions with options: multiple_choice_grade (the score of the likeliest option),
    multiple_choice_grade_per_byte (likeliest by log-probability a byte), brier and option_prob (of the best option)
    over the options' softmax, calibration_error, log_prob of the best option. Of questions with targets: exact_match
    and edit_distance of the greedy answer (white space around it ignored), log_prob, log_prob_per_token and prob of
    the first target; where answers are numbers `answered`, the share of outputs that are numbers, and their rmse.
    With groups the same by group, and with `protocol.positive` the false_positive_rate of every group and its ratio
    to the reference group's. With `protocol.score`: score, the mean over questions of the mean over their samples.

    tokenizer: the model's own if None. rng: for sampled answers. The model is left as found.

    Raises:
        InputError: no tokenizer, no examples, or texts that do not fit the model.
    """
    protocol = protocol or Protocol()
    return rows_of(ask(model, examples, tokenizer, protocol=protocol, rng=rng), protocol)


def ask(
    model: Model,
    examples: Sequence[Example],
    tokenizer: Any = None,
    *,
    protocol: Protocol | None = None,
    rng: Generator | None = None,
) -> Answers:
    """Every question's own scores; see `evaluate` for what is measured of which question. Beside those: `confidence`
    (the largest share among the options), `right` (whether the option chosen has the score 1), `error` (of a number),
    `false_positive` (whether the positive option is chosen, of the questions where it is wrong).

    Raises:
        InputError: as `evaluate`.
    """
    tokenizer = model.tokenizer if tokenizer is None else tokenizer
    if tokenizer is None:
        raise InputError("text questions need a tokenizer: the model has none and none was given")
    if not examples:
        raise InputError("there are no examples to evaluate")
    protocol = protocol or Protocol()
    with evaluating(model.module), torch.no_grad():
        if protocol.score is not None:
            found, n_tokens = _open_ended(model, examples, tokenizer, protocol, rng or generator(0, "evaluate"))
        else:
            chosen, n_read = _choose(model, examples, tokenizer, protocol)
            answered, n_written = _answer(model, examples, tokenizer, protocol)
            found = [{**choice, **answer} for choice, answer in zip(chosen, answered, strict=True)]
            n_tokens = n_read + n_written
    names = dict.fromkeys(name for scores in found for name in scores)
    columns = {name: [scores.get(name, math.nan) for scores in found] for name in names}
    scores = {name: torch.tensor(column, dtype=torch.float64) for name, column in columns.items()}
    return Answers(examples=tuple(examples), scores=scores, n_tokens=n_tokens)


def evaluate_task(
    model: Model, task: Task, tokenizer: Any = None, *, n: int = 256, rng: Generator | None = None
) -> list[Row]:
    """`evaluate` on a text task: on all its examples if it lists them, otherwise on n fresh questions of the test
    split.

    Raises:
        InputError: the task has no text form.
    """
    rng = rng or generator(0, "evaluate", task.name)
    if task.text is None:
        raise InputError(f"task {task.name!r} has no text form")
    examples: Sequence[Example] = task.text.examples
    if task.text.questions is not None:
        examples = task.text.questions(n, rng=rng)
    elif not examples:
        texts = task.text.texts(n, rng=rng)
        pairs = zip(texts.clean, texts.answer, strict=True)
        examples = [Example(prompt=prompt, targets=(answer,)) for prompt, answer in pairs]
    return evaluate(model, examples, tokenizer, protocol=task.text.protocol, rng=rng)


Scores = dict[str, float]
"""What was measured on one example, by name."""


def _choose(model: Model, examples: Sequence[Example], tokenizer: Any, protocol: Protocol) -> tuple[list[Scores], int]:
    """Options, by their log-probabilities."""
    pairs = [encode(model, tokenizer, example.prompt, option) for example in examples for option in example.options]
    found = iter(log_likelihoods(model, pairs) if pairs else ())
    scored: list[Scores] = []
    for example in examples:
        log_probs = torch.tensor([next(found)[0] for _ in example.options], dtype=torch.float64)
        scored.append(_grade(example, log_probs, protocol.positive) if example.options else {})
    return scored, sum(len(context) + len(option) for context, option in pairs)


def _grade(example: Example, log_probs: torch.Tensor, positive: str | None) -> Scores:
    n_bytes = torch.tensor([max(len(option.encode()), 1) for option in example.options])
    scores = torch.tensor(example.scores, dtype=torch.float64)
    shares = log_probs.softmax(0)
    choice, best = int(log_probs.argmax()), int(scores.argmax())
    graded = {
        "multiple_choice_grade": example.scores[choice],
        "multiple_choice_grade_per_byte": example.scores[int((log_probs / n_bytes).argmax())],
        "brier": option_brier(log_probs, scores),
        "log_prob": float(log_probs[best]),
        "prob": math.exp(log_probs[best]),
        "option_prob": float(shares[best]),
        "confidence": float(shares[choice]),
        "right": float(example.scores[choice] >= 1),
    }
    if _is_negative(example, positive):
        graded["false_positive"] = float(example.options[choice] == positive)
    return graded


def _is_negative(example: Example, positive: str | None) -> bool:
    """Whether the positive option is there and wrong."""
    return any(option == positive and score <= 0 for option, score in zip(example.options, example.scores, strict=True))


def _answer(model: Model, examples: Sequence[Example], tokenizer: Any, protocol: Protocol) -> tuple[list[Scores], int]:
    """Free answers: the likelihood of the first target, and what the model writes by itself."""
    asked = [example for example in examples if example.targets]
    if not asked:
        return [{} for _ in examples], 0
    pairs = [encode(model, tokenizer, example.prompt, example.targets[0]) for example in asked]
    contexts, most = [context for context, _ in pairs], _most(asked, tokenizer, protocol)
    outputs = generate(
        model,
        contexts,
        tokenizer,
        max_new_tokens=most,
        finish=lambda index, text: finished(text, asked[index].prompt, protocol),
    )
    likely = log_likelihoods(model, pairs)
    found = iter(zip(asked, pairs, likely, outputs, strict=True))
    n_tokens = sum(2 * len(context) + len(target) + most for context, target in pairs)
    return [_compare(*next(found), protocol) if example.targets else {} for example in examples], n_tokens


def _most(asked: Sequence[Example], tokenizer: Any, protocol: Protocol) -> int:
    """How many tokens may be written: by BIG-bench's rules room for every target and the stop string behind it."""
    if not protocol.verbatim:
        return protocol.max_new_tokens
    end = protocol.stop[0] if protocol.stop else ""
    whole = (encode_pair(tokenizer, one.prompt, target + end)[1] for one in asked for target in one.targets)
    return max(protocol.max_new_tokens, *map(len, whole))


def _compare(
    example: Example,
    pair: tuple[list[int], list[int]],
    likely: tuple[float, bool],
    output: str,
    protocol: Protocol,
) -> Scores:
    guess = guess_in(output, example.prompt, protocol)
    targets = [target if protocol.verbatim else target.strip() for target in example.targets]
    scores = {
        "exact_match": float(guess in targets),
        "edit_distance": float(min(text_edit_distance(guess, target) for target in targets)),
        "log_prob": likely[0],
        "log_prob_per_token": likely[0] / len(pair[1]) if pair[1] else math.nan,
        "prob": math.exp(likely[0]),
    }
    if protocol.numeric:
        error = number(guess) - float(targets[0])
        scores |= {"answered": float(not math.isnan(error)), "error": error}
    return scores


def _open_ended(
    model: Model, examples: Sequence[Example], tokenizer: Any, protocol: Protocol, rng: Generator
) -> tuple[list[Scores], int]:
    """The mean score of n_samples outputs to each prompt."""
    assert protocol.score is not None
    contexts = [encode(model, tokenizer, example.prompt, "")[0] for example in examples]
    repeated = [context for context in contexts for _ in range(protocol.n_samples)]
    outputs = iter(
        generate(
            model,
            repeated,
            tokenizer,
            max_new_tokens=protocol.max_new_tokens,
            stop=protocol.stop,
            temperature=protocol.temperature,
            rng=rng,
        )
    )
    scored: list[Scores] = []
    for example in examples:
        values = [float(protocol.score(example.prompt, next(outputs))) for _ in range(protocol.n_samples)]
        scored.append({"score": sum(values) / len(values)})
    return scored, sum(len(context) + protocol.max_new_tokens for context in repeated)
