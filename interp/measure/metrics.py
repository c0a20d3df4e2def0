"""Metrics of a run: numbers computed from the logits that predict a prompt's answer, one a prompt.

An answer of several tokens is scored by teacher forcing: each token is predicted after the right ones before it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError, unknown
from interp.models.site_tensors import resolve_positions

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from interp.types import Prompts

Metric = str | Callable[..., "Tensor"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Questions:
    """Prompts made ready for a metric.

    clean, corrupt, mask: as in `Prompts`, followed by the right answer but its last token, where it has several.
    answer, wrong: [prompt, answer_len], -1 after the last token. read: where the logits that predict each are.
    """

    clean: Int[Tensor, "prompt pos"]
    corrupt: Int[Tensor, "prompt pos"]
    mask: Bool[Tensor, "prompt pos"] | None
    answer: Int[Tensor, "prompt answer_len"]
    wrong: Int[Tensor, "prompt answer_len"]
    read: Int[Tensor, "prompt answer_len"]
    prompts: Prompts

    @cached_property
    def contrast(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where right and wrong answer first differ [prompt], their tokens there [prompt, 2], and whether they do [prompt]."""
        differ = (self.answer != self.wrong) & (self.answer >= 0) & (self.wrong >= 0)
        first, prompts = differ.long().argmax(1), torch.arange(len(differ), device=differ.device)
        pair = torch.stack([self.answer[prompts, first], self.wrong[prompts, first]], dim=-1).clamp(min=0)
        return first, pair, differ.any(1)


def questions(prompts: Prompts) -> Questions:
    """Checks the prompts and appends to each the part of a longer answer that its next token is predicted from.

    Raises:
        InputError: shapes or positions that do not fit; tokens after `position` that are not the answer's.
    """
    clean, corrupt = prompts.clean, prompts.corrupt
    if clean.shape != corrupt.shape:
        raise InputError(f"clean and corrupt prompts differ in shape: {tuple(clean.shape)} and {tuple(corrupt.shape)}")
    answer, wrong = _columns(prompts.answer), _columns(prompts.wrong)
    width = max(answer.shape[1], wrong.shape[1])
    answer, wrong = (torch.nn.functional.pad(t, (0, width - t.shape[1]), value=-1) for t in (answer, wrong))
    at = resolve_positions(prompts.position, clean, prompts.mask)
    assert at is not None
    if width == 1:
        return Questions(
            clean=clean, corrupt=corrupt, mask=prompts.mask, answer=answer, wrong=wrong, read=at, prompts=prompts
        )
    mask = torch.ones_like(clean, dtype=torch.bool) if prompts.mask is None else prompts.mask.bool()
    places = torch.arange(clean.shape[1], device=clean.device)
    if bool((mask & (places > at)).any()):
        raise InputError(
            "an answer of several tokens is appended to its prompt, so `position` must be the last unmasked one"
        )
    forced = answer[:, :-1].clamp(min=0)
    clean, corrupt, mask = (
        _append(clean, forced, at),
        _append(corrupt, forced, at),
        _append(mask, answer[:, :-1] >= 0, at),
    )
    read = at + torch.arange(width, device=clean.device)
    return Questions(clean=clean, corrupt=corrupt, mask=mask, answer=answer, wrong=wrong, read=read, prompts=prompts)


def _columns(tokens: Tensor) -> Tensor:
    return tokens[:, None] if tokens.dim() == 1 else tokens


def _append(rows: Tensor, more: Tensor, at: Tensor) -> Tensor:
    """`more` written after column `at` of each row, in columns added on the right."""
    longer = torch.nn.functional.pad(rows, (0, more.shape[1]))
    index = at + 1 + torch.arange(more.shape[1], device=rows.device)
    return longer.scatter(1, index, more)


def logit_diff(logits: Tensor, asked: Questions, reference: Tensor | None = None) -> Tensor:
    """Logit of the right minus logit of the wrong answer, at the first token in which the two differ; NaN if none does."""
    first, pair, differ = asked.contrast
    prompts = torch.arange(len(first), device=first.device)
    right, wrong = _at_tokens(logits[..., prompts, first, :], pair).unbind(-1)
    return torch.where(differ.to(logits.device), right - wrong, torch.nan)


def _at_tokens(logits: Tensor, tokens: Tensor) -> Tensor:
    """Logits [run, …, vocab] at tokens […, chosen], the same in every run."""
    return logits.gather(-1, tokens.to(logits.device).expand(*logits.shape[:-1], -1))


def log_prob(logits: Tensor, asked: Questions, reference: Tensor | None = None) -> Tensor:
    """Log-probability of the whole answer, in nats."""
    answer = asked.answer.to(logits.device)
    found = _at_tokens(logits, answer.clamp(min=0)[..., None])[..., 0] - logits.logsumexp(-1)
    return found.masked_fill(answer < 0, 0.0).sum(-1)


def prob(logits: Tensor, asked: Questions, reference: Tensor | None = None) -> Tensor:
    """Probability of the whole answer."""
    return log_prob(logits, asked).exp()


def kl(logits: Tensor, asked: Questions, reference: Tensor | None = None) -> Tensor:
    """KL(clean run || this run) of the next-token distributions, in nats, summed over the answer's tokens."""
    assert reference is not None
    before, after = reference.log_softmax(-1), logits.log_softmax(-1)
    found = (before.exp() * (before - after)).sum(-1)
    return found.masked_fill((asked.answer < 0).to(logits.device), 0.0).sum(-1)


def rank(logits: Tensor, asked: Questions, reference: Tensor | None = None) -> Tensor:
    """How many tokens have a higher logit than the right one (0 = it comes first); the worst of several answer tokens."""
    answer = asked.answer.to(logits.device)
    own = _at_tokens(logits, answer.clamp(min=0)[..., None])
    return (logits > own).sum(-1).masked_fill(answer < 0, 0).amax(-1).to(logits.dtype)


METRICS: dict[str, Callable[..., Any]] = {
    "logit_diff": logit_diff,
    "log_prob": log_prob,
    "prob": prob,
    "kl": kl,
    "rank": rank,
}


def known(name: str) -> Callable[..., Tensor]:
    """The built-in metric of that name."""
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return METRICS[name]


def evaluate(
    metric: Metric,
    logits: Float[Tensor, "run prompt answer_len vocab"],
    asked: Questions,
    reference: Float[Tensor, "prompt answer_len vocab"] | None = None,
) -> Float[Tensor, "run prompt"] | Float[Tensor, "run"]:
    """The metric of each prompt in each of several runs.

    metric: a name (`METRICS`), or a function of the logits [prompt, vocab] that predict the answer ([prompt, answer_len,
        vocab] where answers have several tokens), and of the prompts if it needs a second argument. It gives one value a
        prompt, or one number, and then there are no values by prompt.
    reference: the clean run's logits, for `kl`.

    Raises:
        InputError: an unknown name, or a function that gives neither.
    """
    if isinstance(metric, str):
        return known(metric)(logits.float(), asked, None if reference is None else reference.float())
    more = (asked.prompts,) if _n_required(metric) > 1 else ()
    seen = logits[:, :, 0] if logits.shape[2] == 1 else logits
    found = torch.stack([torch.as_tensor(metric(run, *more)).float() for run in seen])
    if found.dim() == 2 and found.shape[1] == 1 and logits.shape[1] != 1:
        found = found[:, 0]
    if found.shape not in (logits.shape[:1], logits.shape[:2]):
        raise InputError(
            f"a metric gives a number for each of {logits.shape[1]} prompts, or one; got {tuple(found.shape[1:])}"
        )
    return found


def _n_required(function: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a built-in without a signature
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters)
