"""Continuations of a context, as token ids: how likely given ones are, and which ones a model makes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError
from interp.measure.answers import before
from interp.tasks._tokenizer import encode_pair

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Generator, Tensor

    from interp.models import Model

Pair = tuple[Sequence[int], Sequence[int]]
"""A context and a continuation."""

BATCH_LOGITS = 2**25
"""How many logits one forward pass may give."""


def log_likelihoods(model: Model, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
    """For each pair: ln p(continuation | context) in nats, and whether greedy decoding gives the continuation.

    Pairs are run sorted by length, so that little is padded, and each different one once. What does not fit the model
    is cut on the left.

    Raises:
        InputError: an empty context, or a continuation longer than the model's context.
    """
    check_writes(model)
    wanted = {(tuple(context), tuple(continuation)) for context, continuation in pairs}
    for context, continuation in wanted:
        if not context or len(continuation) > model.n_ctx:
            raise InputError(
                f"cannot score {len(continuation)} tokens after {len(context)} with a context of {model.n_ctx} tokens"
            )
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[float, bool]] = {}
    if model.is_encoder_decoder:
        return [_written(model, context, continuation) for context, continuation in pairs]
    for batch in _batches(sorted(wanted, key=lambda pair: (len(pair[0]) + len(pair[1]), pair)), model):
        rows = [(*context, *continuation)[-(model.n_ctx + 1) :] for context, continuation in batch]
        for pair, row, logits in zip(batch, rows, _logits(model, rows), strict=True):
            n = len(pair[1])
            target = torch.tensor(row[len(row) - n :], dtype=torch.long, device=logits.device)
            own = logits[len(row) - 1 - n : len(row) - 1].double().log_softmax(-1)
            log_prob = float(own.gather(1, target[:, None]).sum())
            found[pair] = log_prob, bool((own.argmax(1) == target).all())
    return [found[tuple(context), tuple(continuation)] for context, continuation in pairs]


def check_writes(model: Model) -> None:
    """Raises InputError for a model that does not continue texts, because each position sees all others (BERT)."""
    if model.sites is not None and not model.sites.causal:
        raise InputError(f"{model.config['architecture']} fills in masked tokens; it does not continue a text")


def encode(model: Model, tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Token ids of a context and of what follows it, as `encode_pair`; for an encoder-decoder each on its own, the context as
    its tokenizer closes it (T5's ends with EOS)."""
    if not model.is_encoder_decoder:
        return encode_pair(tokenizer, context, continuation)
    head = tokenizer.encode(context, add_special_tokens=True)
    return head, tokenizer.encode(continuation, add_special_tokens=False) if continuation else []


def _written(model: Model, context: Sequence[int], continuation: Sequence[int]) -> tuple[float, bool]:
    """As `log_likelihoods`, of what a decoder writes after the encoder has read the context."""
    target = torch.tensor(continuation, dtype=torch.long, device=model.device)
    decoder = torch.cat([model.decoder_tokens(1)[0], target.cpu()])[: max(len(target), 1)]
    logits = (
        model.reading(decoder[None])(torch.tensor([list(context)]))[0, : len(target)].detach().double().log_softmax(-1)
    )
    return float(logits.gather(1, target[:, None]).sum()), bool((logits.argmax(1) == target).all())


def _logits(model: Model, rows: Sequence[Sequence[int]]) -> Float[Tensor, "row pos vocab"]:
    """Logits after every token but the last of each row, padded on the right."""
    width = max(map(len, rows)) - 1
    tokens = torch.tensor([[*row[:-1], *[0] * (width + 1 - len(row))] for row in rows])
    mask = torch.arange(width) < torch.tensor([[len(row) - 1] for row in rows])
    return model(tokens, None if bool(mask.all()) else mask)


def _batches(pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], model: Model) -> Iterator[list[Any]]:
    """Runs of neighbours whose logits, padded to the longest of them, are few enough."""
    batch: list[Any] = []
    for pair in pairs:
        width = min(len(pair[0]) + len(pair[1]), model.n_ctx)
        if batch and (len(batch) + 1) * width * model.d_vocab > BATCH_LOGITS:
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


def generate(
    model: Model,
    contexts: Sequence[Sequence[int]],
    tokenizer: Any,
    *,
    max_new_tokens: int,
    stop: Sequence[str] = (),
    finish: Callable[[int, str], str | None] | None = None,
    temperature: float = 0.0,
    rng: Generator | None = None,
) -> list[str]:
    """The text that the model writes after each context, up to the first of `stop` or the end-of-text token.

    finish: where another rule than `stop` says what the end is: of the index of a context and of what is written so
        far, the whole text if it ends there, or None.

    Greedy at temperature 0, sampled with `rng` otherwise. Contexts of equal length run together, so that nothing is
    padded. A context longer than the model's is cut on the left; fewer than max_new_tokens are written where the
    model's context is full before.

    Raises:
        InputError: no rng at a temperature.
    """
    check_writes(model)
    if temperature > 0 and rng is None:
        raise InputError("sampling at a temperature needs an rng")
    ended = finish or (lambda _, text: before(text, stop))
    cut = [list(context)[-model.n_ctx :] for context in contexts]
    order = sorted(range(len(cut)), key=lambda index: len(cut[index]))
    outputs = [""] * len(cut)
    for length, same in groupby(order, key=lambda index: len(cut[index])):
        indices = list(same)
        n_new = min(max_new_tokens, model.n_ctx - length + 1)
        per_batch = max(1, BATCH_LOGITS // ((length + n_new) * model.d_vocab))
        for start in range(0, len(indices), per_batch):
            batch = indices[start : start + per_batch]
            tokens = torch.tensor([cut[index] for index in batch])
            texts = _generate(model, tokens, tokenizer, n_new, batch, ended, temperature, rng)
            for index, text in zip(batch, texts, strict=True):
                outputs[index] = text
    return outputs


def _generate(
    model: Model,
    tokens: Int[Tensor, "row pos"],
    tokenizer: Any,
    max_new_tokens: int,
    indices: Sequence[int],
    finish: Callable[[int, str], str | None],
    temperature: float,
    rng: Generator | None,
) -> list[str]:
    written: list[list[int]] = [[] for _ in tokens]
    texts: list[str | None] = [None] * len(tokens)
    step = _Stepper(model)
    following = tokens
    for _ in range(max_new_tokens):
        logits = step(following)
        if temperature > 0:
            shares = (logits.double() / temperature).softmax(-1).cpu()
            chosen = shares.multinomial(1, generator=rng)
        else:
            chosen = logits.argmax(-1, keepdim=True).cpu()
        for row, token in enumerate(chosen[:, 0].tolist()):
            if texts[row] is None:
                if token == tokenizer.eos_token_id:
                    texts[row] = tokenizer.decode(written[row])
                    continue
                written[row].append(token)
                texts[row] = finish(indices[row], tokenizer.decode(written[row]))
        if all(text is not None for text in texts):
            break
        following = chosen
    return [tokenizer.decode(ids) if text is None else text for ids, text in zip(written, texts, strict=True)]


class _Stepper:
    """Logits after the last token, step by step: with the keys and values of earlier steps where the module keeps
    them."""

    def __init__(self, model: Model) -> None:
        self.model, self.past, self.tokens = model, None, torch.zeros(0, 0, dtype=torch.long)
        self.written = self.tokens  # by a decoder

    def __call__(self, following: Int[Tensor, "row pos"]) -> Float[Tensor, "row vocab"]:
        if self.model.is_encoder_decoder:
            if not self.tokens.numel():
                self.tokens, self.written = following, self.model.decoder_tokens(len(following))
            else:
                self.written = torch.cat([self.written, following], dim=1)
            return self.model.reading(self.written)(self.tokens)[:, -1]
        if self.model.is_native:
            self.tokens = torch.cat([self.tokens, following], dim=1) if self.tokens.numel() else following
            return self.model(self.tokens)[:, -1]
        output = self.model.module(input_ids=following.to(self.model.device), past_key_values=self.past, use_cache=True)
        self.past = output.past_key_values
        return output.logits[:, -1]
