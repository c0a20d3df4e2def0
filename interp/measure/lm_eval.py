"""Any model as a model of EleutherAI's lm-evaluation-harness, so that its tasks can be run on every checkpoint of a
family.

`lm_eval.simple_evaluate(model=interp.measure.lm_eval.harness_model(model), tasks=[…])`. Needs the extra `interp[lm-eval]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError
from interp.measure.continuations import generate, log_likelihoods
from interp.models.running import evaluating

if TYPE_CHECKING:
    from interp.models import Model

MAX_NEW_TOKENS = 256
"""What lm-eval's Hugging Face model generates where a task does not say."""


def harness_model(model: Model, tokenizer: Any = None) -> Any:
    """The model as an `lm_eval.api.model.LM`, with the numbers of lm-eval's own Hugging Face model.

    tokenizer: the model's own if None. Swap other weights into `model` and the returned object evaluates those.

    Raises:
        InputError: lm-eval is not installed, or there is no tokenizer.
    """
    try:
        from lm_eval.api.model import TemplateLM
    except ImportError as error:
        raise InputError(f"lm-eval is not installed ({error}): pip install 'interp[lm-eval]'") from error
    tokenizer = model.tokenizer if tokenizer is None else tokenizer
    if tokenizer is None:
        raise InputError("lm-eval needs a tokenizer: the model has none and none was given")
    made = type("HarnessModel", (_Scorer, TemplateLM), {})()  # lm-eval is an extra: its class is known only here
    made.model, made.tokenizer = model, tokenizer
    return made


class _Scorer:
    """lm-eval splits texts into contexts and continuations; interp scores them."""

    model: Model
    tokenizer: Any
    cache_hook: Any

    @property
    def eot_token_id(self) -> int:
        end = self.tokenizer.eos_token_id
        return self.tokenizer.pad_token_id if end is None else end

    @property
    def prefix_token_id(self) -> int:
        start = self.tokenizer.bos_token_id
        return self.eot_token_id if start is None else start

    @property
    def tokenizer_name(self) -> str:
        return getattr(self.tokenizer, "name_or_path", type(self.tokenizer).__name__).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        if add_special_tokens is None and not string.startswith(self.tokenizer.decode([self.prefix_token_id])):
            return self.tokenizer.encode(string)
        return self.tokenizer.encode(string, add_special_tokens=bool(add_special_tokens))

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        with evaluating(self.model.module), torch.no_grad():
            answers = log_likelihoods(self.model, [(context, continuation) for _, context, continuation in requests])
        for (texts, _, _), answer in zip(requests, answers, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, answer)
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        totals = []
        for (text,) in [request.args for request in requests]:
            windows = get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.model.n_ctx, 1)
            found = self._loglikelihood_tokens([(None, *make_disjoint_window(window)) for window in windows])
            totals.append(sum(log_prob for log_prob, _ in found))
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), totals[-1])
        return totals

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        outputs = [""] * len(requests)
        wanted: dict[tuple[Any, ...], list[int]] = {}
        for index, request in enumerate(requests):
            wanted.setdefault(_settings(request.args[1]), []).append(index)
        for (stop, max_new_tokens, temperature), indices in wanted.items():
            contexts = [self.tok_encode(requests[index].args[0]) for index in indices]
            written = _written(self.model, self.tokenizer, contexts, stop, max_new_tokens, temperature)
            for index, text in zip(indices, written, strict=True):
                outputs[index] = text
                self.cache_hook.add_partial("generate_until", requests[index].args, text)
        return outputs


def _written(
    model: Model, tokenizer: Any, contexts: Sequence[list[int]], stop: Sequence[str], n_new: int, temperature: float
) -> list[str]:
    """What the model writes, each context cut on the left so that n_new tokens fit behind it."""
    if n_new >= model.n_ctx:
        raise InputError(f"{n_new} new tokens leave no room in a context of {model.n_ctx}")
    cut = [context[n_new - model.n_ctx :] for context in contexts]
    how: dict[str, Any] = {"stop": stop, "temperature": temperature, "rng": torch.Generator().manual_seed(0)}
    with evaluating(model.module), torch.no_grad():
        return generate(model, cut, tokenizer, max_new_tokens=n_new, **how)


def _settings(wanted: dict[str, Any]) -> tuple[tuple[str, ...], int, float]:
    """Stop strings, number of new tokens and temperature of a harness request."""
    until = wanted.get("until") or ()
    stop = (until,) if isinstance(until, str) else tuple(until)
    max_new_tokens = wanted.get("max_gen_toks", wanted.get("max_new_tokens", MAX_NEW_TOKENS))
    temperature = float(wanted.get("temperature") or 0.0) if wanted.get("do_sample") else 0.0
    return stop, int(max_new_tokens), temperature
