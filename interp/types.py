"""The nouns: frozen records without logic.

Shapes: `prompt` counts prompts, `pos` token positions, `answer_len` answer tokens. Absent tokens and targets are -1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prompts:
    """Pairs of prompts that differ in what a skill needs, with the right and a wrong answer.

    clean, corrupt: token ids of the two runs.
    answer, wrong: the right answer to the clean prompt, and a wrong one (usually the right one for the corrupt prompt);
        answers of several tokens are padded on the right with -1.
    position: where the logits that predict the first answer token are; -1 is the last unmasked position.
    mask: True where a position holds a token (None: everywhere).
    """

    clean: Int[Tensor, "prompt pos"]
    corrupt: Int[Tensor, "prompt pos"]
    answer: Int[Tensor, "prompt"] | Int[Tensor, "prompt answer_len"]
    wrong: Int[Tensor, "prompt"] | Int[Tensor, "prompt answer_len"]
    position: int | Int[Tensor, "prompt"] = -1
    mask: Bool[Tensor, "prompt pos"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Sequences to learn from or to be scored on.

    targets: `targets[i, t]` is the token that position t should predict; -1 where nothing is scored.
    """

    tokens: Int[Tensor, "prompt pos"]
    targets: Int[Tensor, "prompt pos"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """A skill at given difficulty parameters.

    vocab: the token strings of the task's own vocabulary; index = token id.
    n_ctx: the longest sequence that `batch`, `splits` or `prompts` gives.
    chance: the exact-match accuracy of guessing without the prompt.
    prompts: `prompts(n, *, rng, seed=0) -> Prompts`, drawn from the test split of `seed`.
    splits: `splits(seed) -> {"train": Batch, "test": Batch}`: all examples of a finite task, a sample of an endless one.
    batch: `batch(n, *, rng, seed=0) -> Batch` of training examples; `n=None` is the whole training split (finite tasks).
    extras: what only some skills have. Of the task's own tokens: `required(tokens) -> Bool[prompt, query, key]` which
        keys a query needs; `labels(tokens) -> {variable: Bool[prompt, answer_len]}` sub-tasks; `groups(tokens) ->
        {name: Int[prompt]}` what prompts are sorted by; `valid(tokens) -> Bool[prompt, vocab]` every right answer;
        `subset` or `subsets`, `frequencies`, `subtask_prompts` of parities; `references(tokens) ->
        {name: Float[prompt, pos, vocab]}` reference predictors; `digit_prompts(n, *, digit, rng, seed=0) -> Prompts` for
        one answer token; `positions` the place of each slot of a template; `p` a modulus. As text, for a tokenizer:
        `texts(n, *, rng, seed=0, split="test") -> Texts`; `misaligned` what becomes of pairs of unequal length;
        `max_bytes` the longest text; `examples` the questions that a file lists, or `examples(n, *, rng, seed=0)`;
        `protocol` how free answers are drawn and scored; `tokenizer` the one that the task is read through; `metrics`
        and `title` of a BIG-bench file.
    """

    name: str
    params: Mapping[str, Any]
    vocab: tuple[str, ...]
    n_ctx: int
    chance: float
    prompts: Callable[..., Prompts]
    splits: Callable[[int], Mapping[str, Batch]]
    batch: Callable[..., Batch]
    answer_len: int = 1
    extras: Mapping[str, Any] = field(default_factory=dict)


class Estimate(NamedTuple):
    """A mean over n examples with its standard error."""

    value: float
    stderr: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Address:
    """`family:size[/setting][/seedK]@stepN`: the name of one checkpoint. None where a part was left out."""

    family: str
    size: str | None = None
    setting: str | None = None
    seed: int | None = None
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRef:
    """One checkpoint and where its weights are.

    path: its folder; None while it is only on a hub.
    sha256: digest of the weights as the manifest gives it.
    manifest: everything else the manifest says (tokens, seeds used, versions, task, settings).
    """

    family: str
    size: str
    setting: str
    seed: int
    step: int
    path: Path | None = None
    sha256: str | None = None
    tokens: int | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict, compare=False)
