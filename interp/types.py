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

    def __repr__(self) -> str:
        n, length = self.clean.shape
        more = "" if self.answer.ndim == 1 else f" of up to {self.answer.shape[1]} tokens"
        lines = [f"Prompts: {n} pairs of {length} tokens{'' if self.mask is None else ', masked'}, answers{more}"]
        if n:
            first = [getattr(self, name)[0].tolist() for name in ("clean", "corrupt", "answer", "wrong")]
            lines.append("  first: clean {}, corrupt {}, answer {}, wrong {}".format(*map(_few, first)))
        return "\n".join([*lines, "  .clean, .corrupt, .answer, .wrong, .position, .mask"])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Sequences to learn from or to be scored on.

    targets: `targets[i, t]` is the token that position t should predict; -1 where nothing is scored.
    """

    tokens: Int[Tensor, "prompt pos"]
    targets: Int[Tensor, "prompt pos"]

    def __repr__(self) -> str:
        n, length = self.tokens.shape
        scored = int((self.targets >= 0).sum())
        return f"Batch: {n} sequences of {length} tokens, {scored} positions scored; .tokens, .targets"


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
        all of it) finds in the generated text is the answer.
    verbatim: outputs are cut and compared as BIG-bench does (`interp.measure.answers.published`): the stop string stays,
        and white space counts.
    numeric: answers are numbers and errors are measured too.
    positive: the option whose choice counts as positive; reference: the group that others are compared with.
    score: `score(prompt, output) -> float` for open-ended answers, of which `n_samples` a prompt are drawn at
        `temperature`.
    """

    stop: tuple[str, ...] = ("\n",)
    max_new_tokens: int = 32
    pattern: str | None = None
    verbatim: bool = False
    numeric: bool = False
    positive: str | None = None
    reference: str | None = None
    score: Callable[[str, str], float] | None = None
    n_samples: int = 1
    temperature: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextForm:
    """A skill as text, for a model that reads through a tokenizer of its own.

    texts: `texts(n, *, rng, seed=0, split="test") -> Texts`, at most n pairs (none from an empty split).
    misaligned: what becomes of pairs whose prompts have different numbers of tokens: "drop", "fit" or "error".
    max_bytes: no prompt with its answer is longer; found on a sample where it is None.
    examples: the questions that a file lists. questions: `questions(n, *, rng, seed=0) -> examples` makes them up.
    metrics, title: what a published file says of itself.
    """

    texts: Callable[..., Texts]
    misaligned: str = "drop"
    max_bytes: int | None = None
    examples: tuple[Example, ...] = ()
    questions: Callable[..., tuple[Example, ...]] | None = None
    protocol: Protocol = field(default_factory=Protocol)
    metrics: tuple[str, ...] = ()
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Structure:
    """What is known of a skill in its own tokens; None or empty where it says nothing. All are functions of tokens
    Int[prompt, pos] unless they say otherwise.

    required: Bool[prompt, query, key], which keys a query needs. labels: {variable: Bool[prompt, answer_len]}, sub-tasks.
    groups: {name: Int[prompt]}, what prompts are sorted by. valid: Bool[prompt, vocab], every right answer.
    references: {name: Float[prompt, pos, vocab]}, reference predictors.
    digit_prompts: `(n, *, digit, rng, seed=0) -> Prompts` for one answer token. subtask_prompts: `(n, *, subtask, rng,
        seed=0) -> Prompts` of one sub-task.
    positions: the place of each slot of a template. subsets, frequencies: of the bits and sub-tasks of parities.
    modulus: p of modular arithmetic.
    any_tokens: tokens stand for nothing but themselves, so that they may be asked of any model with as many.
    """

    required: Callable[[Tensor], Tensor] | None = None
    labels: Callable[[Tensor], Mapping[str, Tensor]] | None = None
    groups: Callable[[Tensor], Mapping[str, Tensor]] | None = None
    valid: Callable[[Tensor], Tensor] | None = None
    references: Callable[[Tensor], Mapping[str, Tensor]] | None = None
    digit_prompts: Callable[..., Prompts] | None = None
    subtask_prompts: Callable[..., Prompts] | None = None
    positions: Mapping[str, int] = field(default_factory=dict)
    subsets: tuple[tuple[int, ...], ...] = ()
    frequencies: tuple[float, ...] = ()
    modulus: int | None = None
    any_tokens: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """A skill at given difficulty parameters.

    vocab: the token strings of the vocabulary that its token ids are of; index = token id.
    n_ctx: the longest sequence that `batch`, `splits` or `prompts` gives.
    chance: the exact-match accuracy of guessing without the prompt.
    prompts: `prompts(n, *, rng, seed=0) -> Prompts`, drawn from the test split of `seed`.
    splits: `splits(seed) -> {"train": Batch, "test": Batch}`: all examples of a finite task, a sample of an endless one.
    batch: `batch(n, *, rng, seed=0) -> Batch` of training examples; `n=None` is the whole training split (finite tasks).
    structure: what is known of these tokens. text: the skill as text, None where it has no such form.
    tokenizer: the one that the token ids are of; None: they are the task's own.
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
    structure: Structure = field(default_factory=Structure)
    text: TextForm | None = None
    tokenizer: Any = None

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={_few(value)}" for name, value in self.params.items())
        form = "" if self.text is None else "; as text too"
        return (
            f"Task {self.name}({params})\n  {len(self.vocab)} tokens, at most {self.n_ctx} positions, answers of "
            f"{self.answer_len}, chance {self.chance:.3g}{form}\n  .prompts(n, rng=…), .splits(seed), .batch(n, rng=…)"
        )


def _few(value: Any, most: int = 60) -> str:
    """A value in few characters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


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

    @property
    def run(self) -> str:
        """What the run is called, in tables too: `family:size/setting/seed0`."""
        return f"{self.family}:{self.size}/{self.setting}/seed{self.seed}"

    @property
    def address(self) -> str:
        """The full address, `family:size/setting/seed0@step100`."""
        return f"{self.run}@step{self.step}"

    def __repr__(self) -> str:
        return f"CheckpointRef {self.address} in {self.path or 'no folder yet'}"
