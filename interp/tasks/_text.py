"""Skills as text: pairs of prompts as strings, and what they become under a tokenizer."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from interp.errors import InputError
from interp.seeds import generator
from interp.tasks import _check
from interp.tasks._splits import N_SAMPLE
from interp.tasks._tokenizer import encode_pair, pad, pad_id, prefix, vocabulary
from interp.types import Batch, Prompts, Task, TextForm, Texts

if TYPE_CHECKING:
    from torch import Generator

MISALIGNED = ("drop", "fit", "error")
SAMPLE_LOGITS = 2**25
"""How many logits the scored positions of a split may give: 128 MiB."""


def tokenize(texts: Texts, tokenizer: Any, *, misaligned: str = "drop", n_ctx: int | None = None) -> Prompts:
    """The pairs as token ids: BOS where the tokenizer has one, padded on the right, answers of one or several tokens.

    misaligned: what becomes of a pair whose prompts have different numbers of tokens (their positions cannot be
        compared): "drop" leaves it out, "error" says so, "fit" cuts the corrupt prompt on the left or fills it up
        with the clean one's first tokens. Except under "fit", pairs are left out whose prompts are the same tokens, or
        of whose answers one begins with the other: no token tells them apart.
    n_ctx: the model's context: prompts that do not fit in it with their answer are cut on the left.

    Where a tokenizer writes the space before the answers as a token of its own, it belongs to the prompts: the answers
    begin with what may tell them apart, and `position` is where that is predicted.

    Raises:
        InputError: no pair is left.
    """
    rows = list(_aligned(texts, tokenizer, misaligned, n_ctx))
    if not rows:
        raise InputError(
            f"none of {len(texts.clean)} pairs has prompts of equal length and different answers under this tokenizer"
        )
    return _stack(rows, tokenizer)


Row = tuple[list[int], list[int], list[int], list[int]]
"""Token ids of a clean prompt, its corrupt twin, the right and the wrong answer."""


def _aligned(texts: Texts, tokenizer: Any, misaligned: str, n_ctx: int | None) -> Iterator[Row]:
    """The pairs that can be used, encoded."""
    _check.one_of("tokenize", "misaligned", misaligned, MISALIGNED)
    for clean, corrupt, answer, wrong in zip(texts.clean, texts.corrupt, texts.answer, texts.wrong, strict=True):
        clean_ids, answer_ids = encode_pair(tokenizer, clean, answer)
        wrong_ids = encode_pair(tokenizer, clean, wrong)[1]
        corrupt_ids = encode_pair(tokenizer, corrupt, wrong)[0]
        space = _leading_space(tokenizer, answer_ids, wrong_ids)
        clean_ids, corrupt_ids = clean_ids + space, corrupt_ids + space
        answer_ids, wrong_ids = answer_ids[len(space) :], wrong_ids[len(space) :]
        surplus = len(clean_ids) - len(corrupt_ids)
        if surplus and misaligned == "error":
            raise InputError(
                f"{clean!r} has {len(clean_ids)} tokens and its corrupt twin {corrupt!r} {len(corrupt_ids)}; "
                "misaligned='drop' leaves such pairs out"
            )
        fit = misaligned == "fit"
        if fit:
            corrupt_ids = clean_ids[:surplus] + corrupt_ids if surplus > 0 else corrupt_ids[-surplus:]
        contrasted = clean_ids != corrupt_ids and any(map(operator.ne, answer_ids, wrong_ids))
        if len(clean_ids) == len(corrupt_ids) and (fit or contrasted):
            first = 0 if n_ctx is None else _surplus(len(clean_ids), max(len(answer_ids), len(wrong_ids)), n_ctx)
            yield clean_ids[first:], corrupt_ids[first:], answer_ids, wrong_ids


def _leading_space(tokenizer: Any, answer: Sequence[int], wrong: Sequence[int]) -> list[int]:
    """The tokens of nothing but white space that both answers begin with."""
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(answer[:-1], wrong[:-1], strict=False))
    return list(itertools.takewhile(lambda token: tokenizer.decode([token]).isspace(), (token for token, _ in shared)))


def _surplus(n_prompt: int, n_answer: int, n_ctx: int) -> int:
    """How many tokens of a prompt do not fit before its answer, whose last token is never read; one token stays."""
    return min(max(n_prompt + n_answer - 1 - n_ctx, 0), n_prompt - 1)


def _stack(rows: Sequence[Row], tokenizer: Any) -> Prompts:
    clean, corrupt, answer, wrong = zip(*rows, strict=True)
    tokens, mask = pad(clean, pad_id(tokenizer))
    answers = pad([*answer, *wrong], -1)[0]
    right, other = (answers.squeeze(1) if answers.shape[1] == 1 else answers).tensor_split(2)
    ragged = not bool(mask.all())
    return Prompts(
        clean=tokens,
        corrupt=pad(corrupt, pad_id(tokenizer))[0],
        answer=right,
        wrong=other,
        position=mask.sum(1) - 1 if ragged else -1,
        mask=mask if ragged else None,
    )


def batch_of(texts: Texts, tokenizer: Any, *, end: str = "", n_ctx: int | None = None) -> Batch:
    """The clean prompts with their answers and `end`, scored at the answers' tokens, padded on the right; prompts
    without an answer are left out, and what does not fit in n_ctx is cut on the left."""
    spoken = zip(texts.clean, texts.answer, strict=True)
    pairs = [encode_pair(tokenizer, clean, reply + end) for clean, reply in spoken if reply]
    if n_ctx is not None:
        pairs = [(context[_surplus(len(context), len(reply), n_ctx) :], reply) for context, reply in pairs]
    tokens, _ = pad([(context + reply)[:-1] for context, reply in pairs], pad_id(tokenizer))
    targets, _ = pad([[-1] * (len(context) - 1) + reply for context, reply in pairs], -1)
    return Batch(tokens=tokens, targets=targets)


def tokenized(task: Task, tokenizer: Any, *, n_ctx: int | None = None) -> Task:
    """The same skill for a model that reads text through `tokenizer`: from `task.text`.

    `batch(n)` gives fresh examples; a whole training split there is not. The task's own `n_ctx` is a bound (one token
    a byte); texts that do not fit in the `n_ctx` given here, the model's, are cut on the left. Pairs that cannot be
    compared position by position are treated as `task.text.misaligned` says. The structure of the task's own tokens is
    left out.

    Raises:
        InputError: the task has no text form.
    """
    if task.text is None:
        raise InputError(f"task {task.name!r} has no text form for a tokenizer")
    return text_task(
        name=task.name, params=task.params, chance=task.chance, tokenizer=tokenizer, n_ctx=n_ctx, text=task.text
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """How a text form becomes tokens: through which tokenizer, cut to which context, each training answer closed by
    `end`, so that a model that learns from them knows where to stop. n_sample: examples in a split."""

    name: str
    text: TextForm
    tokenizer: Any
    n_ctx: int | None
    end: str
    n_sample: int


def text_task(
    *,
    name: str,
    params: Mapping[str, Any],
    chance: float,
    tokenizer: Any,
    text: TextForm,
    end: str = "",
    n_ctx: int | None = None,
) -> Task:
    """A task whose examples are text, read through `tokenizer`.

    end: what closes every answer in the training examples.
    n_ctx: the context of the model that reads it, where texts may be longer. Splits are samples of N_SAMPLE texts (no
        more than there are examples); under a large vocabulary of fewer, so that the logits at their answers are at
        most SAMPLE_LOGITS.
    """
    n_most = min(N_SAMPLE, len(text.examples)) if text.examples else N_SAMPLE
    sample = text.texts(n_most, rng=generator(0, name, "sample"), seed=0, split="test")
    spoken = (clean + reply for clean, reply in zip(sample.clean, sample.answer, strict=True))
    longest = max((len(one.encode()) for one in spoken), default=0) if text.max_bytes is None else text.max_bytes
    pairs = (pair for replies in (sample.answer, sample.wrong) for pair in zip(sample.clean, replies, strict=True))
    answer_len = max([1, *(len(encode_pair(tokenizer, *pair)[1]) for pair in pairs)])
    vocab = vocabulary(tokenizer)
    n_sample = min(n_most, max(SAMPLE_LOGITS // (len(vocab) * (answer_len + len(end))), 32))
    reading = Reading(name=name, text=text, tokenizer=tokenizer, n_ctx=n_ctx, end=end, n_sample=n_sample)
    bound = longest + len(prefix(tokenizer)) + len(end.encode())
    return Task(
        name=name,
        params=params,
        vocab=vocab,
        n_ctx=bound if n_ctx is None else min(bound, n_ctx),
        chance=chance,
        answer_len=answer_len,
        prompts=partial(_prompts, reading),
        splits=partial(_splits, reading),
        batch=partial(_batch, reading),
        text=text,
        tokenizer=tokenizer,
    )


def _prompts(how: Reading, n: int, *, rng: Generator, seed: int = 0) -> Prompts:
    """n pairs that can be used, drawing on where some are left out."""
    rows: list[Row] = []
    for _ in range(100):
        drawn = how.text.texts(n - len(rows), rng=rng, seed=seed, split="test")
        rows += _aligned(drawn, how.tokenizer, how.text.misaligned, how.n_ctx)
        if len(rows) >= n:
            return _stack(rows, how.tokenizer)
        if not drawn.clean:
            break
    raise InputError(f"only {len(rows)} of {n} pairs have prompts of equal length under this tokenizer")


def _splits(how: Reading, seed: int) -> dict[str, Batch]:
    def sampled(split: str) -> Batch:
        drawn = how.text.texts(how.n_sample, rng=generator(seed, how.name, split), seed=seed, split=split)
        return batch_of(drawn, how.tokenizer, end=how.end, n_ctx=how.n_ctx)

    return {split: sampled(split) for split in ("train", "test")}


def _batch(how: Reading, n: int | None, *, rng: Generator, seed: int = 0) -> Batch:
    if n is None:
        raise InputError(f"{how.name} as text has no whole training split to learn from: give a batch size")
    drawn = how.text.texts(n, rng=rng, seed=seed, split="train")
    return batch_of(drawn, how.tokenizer, end=how.end, n_ctx=how.n_ctx)
