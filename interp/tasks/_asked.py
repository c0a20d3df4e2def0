"""The one door between a skill and a model: in which tokens it is asked, and what is drawn of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from interp import seeds
from interp.errors import InputError
from interp.tasks._text import tokenized
from interp.tasks._tokenizer import CharTokenizer, vocabulary
from interp.types import Prompts, Task

if TYPE_CHECKING:
    from interp.models import Model


def fit_task(task: Task, model: Model, *, tokenizer: Any = None) -> Task:
    """The skill in the tokens that `model` reads: every sweep, recorder, circuit and command asks it so.

    A model with a tokenizer is asked in text, cut to its context. A model without one reads the task's own token ids.

    tokenizer: the model's own if None.

    Raises:
        InputError: the task has no text form and its token ids mean other things to the model; or the model has not as
            many tokens, or not as many positions.
    """
    if not isinstance(task, Task):
        raise InputError(f"task is a {type(task).__name__}; expected an interp.Task, as interp.task(name) gives")
    tokenizer = model.tokenizer if tokenizer is None else tokenizer
    if isinstance(tokenizer, CharTokenizer) and tokenizer == task.tokenizer:
        tokenizer = None
    if tokenizer is not None and task.text is not None:
        return tokenized(task, tokenizer, n_ctx=model.n_ctx)
    n_own, n_read = len(task.vocab), model.n_tokens
    if tokenizer is not None and not _same_tokens(task, tokenizer, n_read):
        raise InputError(
            f"task {task.name!r} has no text form: its {n_own} token ids mean other things to a model that reads text "
            f"in a vocabulary of {n_read}"
        )
    if n_own > n_read:
        raise InputError(f"task {task.name!r} has a vocabulary of {n_own} tokens, and the model one of {n_read}")
    if task.n_ctx > model.n_ctx:
        raise InputError(f"task {task.name!r} takes {task.n_ctx} positions, and the model has {model.n_ctx}")
    return task


def _same_tokens(task: Task, tokenizer: Any, n_read: int) -> bool:
    """Whether the task's token ids are the tokenizer's, or stand for nothing but themselves."""
    if task.structure.any_tokens or task.tokenizer is tokenizer or len(task.vocab) == n_read:
        return True
    return len(task.vocab) == len(vocabulary(tokenizer))


def draw_prompts(task: Task, n: int, *, seed: int, split_seed: int = 0) -> Prompts:
    """The prompts that every checkpoint of a run is measured on: n of them, no more than the questions that the task
    lists."""
    if task.text is not None and task.text.examples:
        n = min(n, len(task.text.examples))
    return task.prompts(n, rng=seeds.generator(seed, "prompts", task.name), seed=split_seed)


def ask_of(task: Task, n: int, *, seed: int, split_seed: int = 0) -> Task:
    """The task with the questions that every checkpoint of a run is asked: at most n of those that it lists, or n that
    it makes up; a task without questions as it is."""
    text = task.text
    if text is None or not (text.examples or text.questions):
        return task
    rng = seeds.generator(seed, "questions", task.name)
    if text.questions is not None:
        chosen = tuple(text.questions(n, rng=rng, seed=split_seed))
    else:
        order = torch.randperm(len(text.examples), generator=rng)[:n]
        chosen = tuple(text.examples[i] for i in sorted(order.tolist()))
    return replace(task, text=replace(text, examples=chosen, questions=None))
