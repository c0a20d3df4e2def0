"""Tokenizers: what is asked of one, and token ids of a context and of what follows it.

A tokenizer is anything with `encode(text, add_special_tokens=False) -> list[int]` and `decode(ids)`: transformers', or
`CharTokenizer` for small models that read characters.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Tensor


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
    """A token to fill up with; masked or never looked back at, so any will do that the model has: one that was added to
    the tokenizer later may be none."""
    most = getattr(tokenizer, "vocab_size", sys.maxsize)
    candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(token for token in candidates if token is not None and token < most)


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


def vocabulary(tokenizer: Any) -> tuple[str, ...]:
    """The token strings, index = token id; ids that the tokenizer does not use are empty strings."""
    if isinstance(tokenizer, CharTokenizer):
        return tokenizer.vocab
    by_id = {index: token for token, index in tokenizer.get_vocab().items()}
    return tuple(by_id.get(index, "") for index in range(max(by_id) + 1))
