"""Metrics of a run: numbers computed from the logits that predict a prompt's answer, one a prompt.

An answer of several tokens is scored by teacher forcing: each token is predicted after the right ones before it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError, unknown
from interp.measure import scoring
from interp.models.handle import check_model
from interp.models.site_tensors import resolve_positions
from interp.models.tokens import check_vocabulary
from interp.types import Prompts

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from interp.models import Model

Metric = str | Callable[..., "Tensor"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Questions:
    """Prompts made ready for a metric.

    clean, corrupt, mask: as in `Prompts`, followed by the right answer but its last token, where it has several.
    answer, wrong: [prompt, answer_len], -1 after the last token. read: where the logits that predict each are.
    decoder: of an encoder-decoder, its start token followed by the right answer but its last token; then clean, corrupt and
        mask are the encoder's, as in `Prompts`.
    """

    clean: Int[Tensor, "prompt pos"]
    corrupt: Int[Tensor, "prompt pos"]
    mask: Bool[Tensor, "prompt pos"] | None
    answer: Int[Tensor, "prompt answer_len"]
    wrong: Int[Tensor, "prompt answer_len"]
    read: Int[Tensor, "prompt answer_len"]
    prompts: Prompts
    decoder: Int[Tensor, "prompt pos"] | None = None

    @cached_property
    def contrast(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where right and wrong answer first differ [prompt], their tokens there [prompt, 2], and whether they do [prompt]."""
        return scoring.contrast(self.answer, self.wrong)


def check_prompts(prompts: Any) -> None:
    """Raises InputError for what is no prompts."""
    if not isinstance(prompts, Prompts):
        raise InputError(
            f"prompts are a {type(prompts).__name__}; expected interp.Prompts, as task.prompts(n, rng=…) gives"
        )


def questions(prompts: Prompts, model: Model) -> Questions:
    """Checks the prompts against the model, and writes behind each the part of a longer answer that its next token is
    predicted from: the one teacher forcing, for measures, patching, circuits and lenses alike.

    Raises:
        InputError: prompts or answers that do not fit each other or the model; tokens behind `position` where an answer
            has several tokens, for the answer's would take their place.
    """
    check_model(model)
    check_prompts(prompts)
    clean, corrupt = prompts.clean, prompts.corrupt
    if clean.shape != corrupt.shape:
        raise InputError(f"clean and corrupt prompts differ in shape: {tuple(clean.shape)} and {tuple(corrupt.shape)}")
    answer, wrong = (_answers(prompts, name, model) for name in ("answer", "wrong"))
    width = answer.shape[1]
    wrong = torch.nn.functional.pad(wrong, (0, max(0, width - wrong.shape[1])), value=-1)[:, :width]
    at = resolve_positions(prompts.position, clean, prompts.mask)
    assert at is not None  # None stands for every position, which `Prompts` does not allow
    mask = None if prompts.mask is None else prompts.mask.bool()
    if mask is not None and not bool(mask.gather(1, at.to(mask.device)).all()):
        raise InputError("a prompt's `position` lies where its mask says that there is no token")
    if model.is_encoder_decoder:
        return _written(prompts, mask, answer, wrong, model)
    if width > 1 and model.sites is not None and not model.sites.causal:
        raise InputError(
            f"{model.config['architecture']} fills in one token where it is masked; an answer of {width} tokens does not fit"
        )
    if width > 1:
        clean, corrupt, mask = _forced(clean, corrupt, mask, answer, at)
    read = at + torch.arange(width, device=at.device)
    return Questions(clean=clean, corrupt=corrupt, mask=mask, answer=answer, wrong=wrong, read=read, prompts=prompts)


def _written(prompts: Prompts, mask: Tensor | None, answer: Tensor, wrong: Tensor, model: Model) -> Questions:
    """Questions whose answers a decoder writes."""
    if not isinstance(prompts.position, int) or prompts.position != -1:
        raise InputError(
            "an encoder-decoder answers from its decoder's start token; its prompts have no other `position`"
        )
    n, width = answer.shape
    start = model.decoder_tokens(n)
    if start.shape[1] != 1:
        raise InputError("the decoder reads the start token and the answers; do not give it other tokens")
    return Questions(
        clean=prompts.clean,
        corrupt=prompts.corrupt,
        mask=mask,
        answer=answer,
        wrong=wrong,
        read=torch.arange(width, device=prompts.clean.device).expand(n, -1),
        prompts=prompts,
        decoder=torch.cat([start.to(answer.device), answer[:, :-1].clamp(min=0)], dim=1),
    )


def _answers(prompts: Prompts, name: str, model: Model) -> Int[Tensor, "prompt answer_len"]:
    """The right or the wrong answers as columns, looked at."""
    given = getattr(prompts, name)
    answers, n = scoring.columns(given), len(prompts.clean)
    if answers.dim() != 2 or len(answers) != n or answers.is_floating_point():
        raise InputError(
            f"expected `{name}` as token ids [prompt] or [prompt, answer_len] of {n} prompts, got {tuple(given.shape)}"
        )
    own = answers >= 0
    if bool((answers < -1).any()) or bool((own[:, 1:] & ~own[:, :-1]).any()):
        raise InputError(f"`{name}` is padded on the right with -1; other negative numbers and gaps are no tokens")
    check_vocabulary(answers.clamp(min=0), model.d_vocab, what=f"token of `{name}`")
    return answers


def _forced(
    clean: Tensor, corrupt: Tensor, mask: Tensor | None, answer: Tensor, at: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The prompts with all tokens of the right answer but the last behind them, and where they hold tokens."""
    keep = torch.ones_like(clean, dtype=torch.bool) if mask is None else mask
    if bool((keep & (torch.arange(clean.shape[1], device=clean.device) > at)).any()):
        raise InputError(
            "an answer of several tokens is written behind its prompt, so `position` must be the last unmasked one"
        )
    forced = answer[:, :-1].clamp(min=0)
    longer = _append(keep, answer[:, :-1] >= 0, at)
    return _append(clean, forced, at), _append(corrupt, forced, at), None if bool(longer.all()) else longer


def _append(rows: Tensor, more: Tensor, at: Tensor) -> Tensor:
    """`more` written after column `at` of each row, in as many columns added on the right as the longest row needs."""
    index = at + 1 + torch.arange(more.shape[1], device=rows.device)
    missing = int(index.max()) + 1 - rows.shape[1]
    return torch.nn.functional.pad(rows, (0, max(missing, 0))).scatter(1, index, more)


METRICS: Mapping[str, Callable[[Tensor, Questions, Any], Tensor]] = {
    "logit_diff": lambda logits, asked, _: scoring.logit_diff(logits, asked.answer, asked.wrong),
    "log_prob": lambda logits, asked, _: scoring.log_prob(logits, asked.answer),
    "prob": lambda logits, asked, _: scoring.prob(logits, asked.answer),
    "kl": lambda logits, asked, reference: scoring.kl(logits, asked.answer, reference),
    "rank": lambda logits, asked, _: scoring.rank(logits, asked.answer),
}
"""The scores of `interp.measure.scoring` that may be named where a run is compared with another."""

BUDGET = 2**24
"""How many logits are scored at once: in float64 they take 128 MiB."""


def known(name: str) -> Callable[[Tensor, Questions, Any], Tensor]:
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
        score, size = known(metric), max(1, BUDGET // max(logits[0].numel(), 1))
        return torch.cat([score(some, asked, reference) for some in logits.split(size)]).float()
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
