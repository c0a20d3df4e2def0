"""Skills as text: pairs of prompts as strings, and what they become under a tokenizer.

A tokenizer is anything with `encode(text, add_special_tokens=False) -> list[int]` and `decode(ids)`: transformers', or
`CharTokenizer` for small models that read characters.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError
from interp.seeds import generator
from interp.tasks import _check
from interp.tasks._splits import N_SAMPLE
from interp.types import Batch, Prompts, Task

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Generator, Tensor

MISALIGNED = ("drop", "fit", "error")
SAMPLE_LOGITS = 2**25
"""How many logits the scored positions of a split may give: 128 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Pairs of prompts with the right and a wrong answer to the clean one. Answers carry their own leading space."""

    clean: tuple[str, ...]
    corrupt: tuple[str, ...]
    answer: tuple[str, ...]
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One question of a text task.

    targets: every answer that counts as right (the first one is the one whose probability is measured).
    options: the answers to choose from, empty for a free answer. scores: their worth, 1 for right and 0 for wrong.
    group: what the question belongs to, where measures are compared between groups.
    """

    prompt: str
    targets: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How free answers are drawn and scored.

    stop: generation ends before the first of these strings. pattern: a regular expression; what its first group (or
        all of it) finds in the generated text is the answer. numeric: answers are numbers and errors are measured too.
    positive: the option whose choice counts as positive; reference: the group that others are compared with.
    score: `score(prompt, output) -> float` for open-ended answers, of which `n_samples` a prompt are drawn at
        `temperature`.
    """

    stop: tuple[str, ...] = ("\n",)
    max_new_tokens: int = 32
    pattern: str | None = None
    numeric: bool = False
    positive: str | None = None
    reference: str | None = None
    score: Callable[[str, str], float] | None = None
    n_samples: int = 1
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class CharTokenizer:
    """One token a character; token 0 is padding."""

    alphabet: str
    index: Mapping[str, int] = field(init=False, repr=False, compare=False)
    pad_token_id: int = field(default=0, init=False)
    bos_token_id: None = field(default=None, init=False)
    eos_token_id: None = field(default=None, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {char: token for token, char in enumerate(self.alphabet, start=1)})

    @property
    def vocab(self) -> tuple[str, ...]:
        return ("<pad>", *self.alphabet)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        missing = sorted(set(text) - set(self.index))
        if missing:
            raise InputError(f"the characters {''.join(missing)!r} are not in the alphabet {self.alphabet!r}")
        return [self.index[char] for char in text]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        return "".join(self.vocab[int(token)] for token in ids if int(token) or not skip_special_tokens)


def prefix(tokenizer: Any) -> list[int]:
    """The token that this tokenizer puts before every text (BOS), if it does."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer.encode("", add_special_tokens=True)[:1] == [bos] else []


def pad_id(tokenizer: Any) -> int:
    """A token to fill up with; masked everywhere, so any will do."""
    candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(token for token in candidates if token is not None)


def encode_pair(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Token ids of a context, BOS first where the tokenizer has it so, and of what follows it.

    The two are encoded as one text, so that the continuation's first token is what the model would have read; white
    space at the end of the context counts to the continuation, whose tokens carry it. Where the border falls inside a
    token, they are encoded apart.
    """
    bare = context.rstrip()
    continuation = context[len(bare) :] + continuation
    head = tokenizer.encode(bare, add_special_tokens=False)
    whole = tokenizer.encode(bare + continuation, add_special_tokens=False)
    joined = whole[: len(head)] == head and len(whole) > len(head)
    tail = whole[len(head) :] if joined else tokenizer.encode(continuation, add_special_tokens=False)
    start = prefix(tokenizer)
    if not head and not start:
        start = [pad_id(tokenizer) if tokenizer.eos_token_id is None else tokenizer.eos_token_id]
    return start + head, tail


def pad(rows: Sequence[Sequence[int]], value: int) -> tuple[Int[Tensor, "prompt pos"], Bool[Tensor, "prompt pos"]]:
    """Rows filled up on the right to the longest one (one token at least), and where they hold something of their own."""
    width = max([1, *map(len, rows)])
    filled = torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], dtype=torch.long)
    lengths = torch.tensor([len(row) for row in rows])
    return filled.reshape(len(rows), width), torch.arange(width) < lengths[:, None]


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
    """The same skill for a model that reads text through `tokenizer`: from `task.extras["texts"]`.

    `batch(n)` gives fresh examples; a whole training split there is not. The task's own `n_ctx` is a bound (one token
    a byte); texts that do not fit in the `n_ctx` given here, the model's, are cut on the left. Pairs that cannot be
    compared position by position are treated as `task.extras["misaligned"]` says ("drop" where it says nothing).
    Extras that speak of the task's own tokens (labels, groups, required, …) are left out.

    Raises:
        InputError: the task has no text form.
    """
    if "texts" not in task.extras:
        raise InputError(f"task {task.name!r} has no text form for a tokenizer")
    about_text = ("texts", "misaligned", "max_bytes", "examples", "protocol")
    return text_task(
        name=task.name,
        params=task.params,
        chance=task.chance,
        tokenizer=tokenizer,
        n_ctx=n_ctx,
        extras={name: task.extras[name] for name in about_text if name in task.extras},
    )


def text_task(
    *,
    name: str,
    params: Mapping[str, Any],
    chance: float,
    tokenizer: Any,
    extras: Mapping[str, Any],
    end: str = "",
    n_ctx: int | None = None,
) -> Task:
    """A task whose examples are text, read through `tokenizer`.

    end: what closes every answer in the training examples, so that a model that learns from them knows where to stop.

    extras["texts"]: `texts(n, rng=, seed=, split=) -> Texts`, at most n pairs (none from an empty split).
    extras["max_bytes"]: no prompt with its answer is longer; found on a sample where it is left out.
    n_ctx: the context of the model that reads it, where texts may be longer. Splits are samples of N_SAMPLE texts (no
        more than there are examples); under a large vocabulary of fewer, so that the logits at their answers are at
        most SAMPLE_LOGITS.
    """
    texts: Callable[..., Texts] = extras["texts"]
    misaligned = extras.get("misaligned", "drop")
    listed = extras.get("examples")
    n_most = min(N_SAMPLE, len(listed)) if isinstance(listed, tuple) else N_SAMPLE
    sample = texts(n_most, rng=generator(0, name, "sample"), seed=0, split="test")
    spoken = [clean + reply for clean, reply in zip(sample.clean, sample.answer, strict=True)]
    max_bytes = extras.get("max_bytes", max((len(text.encode()) for text in spoken), default=0))
    pairs = (pair for replies in (sample.answer, sample.wrong) for pair in zip(sample.clean, replies, strict=True))
    answer_len = max([1, *(len(encode_pair(tokenizer, *pair)[1]) for pair in pairs)])
    vocab = vocabulary(tokenizer)
    n_sample = min(n_most, max(SAMPLE_LOGITS // (len(vocab) * (answer_len + len(end))), 32))

    def prompts(n: int, *, rng: Generator, seed: int = 0) -> Prompts:
        return _enough(n, lambda m: texts(m, rng=rng, seed=seed, split="test"), tokenizer, misaligned, n_ctx)

    def sampled(split: str, seed: int) -> Batch:
        drawn = texts(n_sample, rng=generator(seed, name, split), seed=seed, split=split)
        return batch_of(drawn, tokenizer, end=end, n_ctx=n_ctx)

    def batch(n: int | None, *, rng: Generator, seed: int = 0) -> Batch:
        if n is None:
            raise InputError(f"{name} as text has no whole training split to learn from: give a batch size")
        return batch_of(texts(n, rng=rng, seed=seed, split="train"), tokenizer, end=end, n_ctx=n_ctx)

    bound = max_bytes + len(prefix(tokenizer)) + len(end.encode())
    return Task(
        name=name,
        params=params,
        vocab=vocab,
        n_ctx=bound if n_ctx is None else min(bound, n_ctx),
        chance=chance,
        answer_len=answer_len,
        prompts=prompts,
        splits=lambda seed: {split: sampled(split, seed) for split in ("train", "test")},
        batch=batch,
        extras={**extras, "tokenizer": tokenizer},
    )


def vocabulary(tokenizer: Any) -> tuple[str, ...]:
    """The token strings, index = token id; ids that the tokenizer does not use are empty strings."""
    if isinstance(tokenizer, CharTokenizer):
        return tokenizer.vocab
    by_id = {index: token for token, index in tokenizer.get_vocab().items()}
    return tuple(by_id.get(index, "") for index in range(max(by_id) + 1))


def _enough(n: int, draw: Callable[[int], Texts], tokenizer: Any, misaligned: str, n_ctx: int | None) -> Prompts:
    """n pairs that can be used, drawing on where some are left out."""
    rows: list[Row] = []
    for _ in range(100):
        drawn = draw(n - len(rows))
        rows += _aligned(drawn, tokenizer, misaligned, n_ctx)
        if len(rows) >= n:
            return _stack(rows, tokenizer)
        if not drawn.clean:
            break
    raise InputError(f"only {len(rows)} of {n} pairs have prompts of equal length under this tokenizer")
