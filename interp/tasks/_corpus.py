"""Real text: the Python sources, with their docstrings, of packages that this library's own dependencies install.

The same text for everybody: only packages whose wheels are the same on every platform, at pinned versions, each checked
against the digest of its sources before it is read. The tokenizer is learned from the training text alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError, unknown
from interp.tasks import _check
from interp.tasks._splits import fill
from interp.types import Batch

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from tokenizers import Tokenizer
    from torch import Generator, Tensor

PACKAGES: Mapping[str, tuple[str, str]] = {
    "accelerate": ("1.15.0", "aa10659c9767d76f"),
    "anyio": ("4.16.0", "afaddb9c68b8f1aa"),
    "click": ("8.5.1", "36dcccf1f2361c17"),
    "datasets": ("5.2.0", "55956677b2300550"),
    "fsspec": ("2026.9.0", "c95f4b5b5e4ccc2a"),
    "huggingface_hub": ("2.4.0", "d8b0bd277a9e0183"),
    "Jinja2": ("3.1.6", "9066babe644dd65e"),
    "narwhals": ("2.29.0", "058fda735de01ffd"),
    "pydantic": ("2.14.3", "f159ece8c8dc29b8"),
    "requests": ("2.34.2", "dc03d6445cd69b12"),
    "typer": ("0.29.2", "9f19921e2fe345a7"),
    "urllib3": ("2.8.0", "b8eda02e5612402f"),
}
"""Name: version, and the first 16 digits of the sha256 of its sources (`digest_of`)."""

TRAIN = ("accelerate", "datasets", "huggingface_hub", "narwhals", "pydantic")
HELD_OUT = ("anyio", "click", "fsspec", "Jinja2", "requests", "typer", "urllib3")
"""No file of these is ever learned from, by the tokenizer neither."""

END = "<|endoftext|>"
"""Token 0, before every file."""

PIECES = r"\n *| ?[A-Za-z]+|_+|[0-9]| +|[^A-Za-z0-9_ \n]"
"""What no token reaches beyond: a line break with the indentation after it, a word with the space before it, one digit, one
sign. So every bracket and digit is a token of its own, and an indentation is one token where it is frequent."""

LEARNED_FROM = 8
"""Every how many of the training files the tokenizer learns from: all of them take eight times as long."""


def installed(package: str) -> Distribution:
    """The package, at the version that the numbers were made with.

    Raises:
        InputError: it is not of the corpus, not installed, or of another version.
    """
    if package not in PACKAGES:
        raise unknown("package of the corpus", package, PACKAGES)
    version = PACKAGES[package][0]
    try:
        found = distribution(package)
    except PackageNotFoundError:
        raise InputError(
            f"the corpus needs {package} {version}, which is not installed; `make setup` does it"
        ) from None
    if found.version != version:
        raise InputError(
            f"the corpus is made of {package} {version}, and {found.version} is installed: other text gives other numbers; "
            "install under constraints.txt (`make setup`)"
        )
    return found


def digest_of(files: Mapping[str, bytes]) -> str:
    """sha256 over path, length and bytes of every file, in the order of their paths."""
    digest = sha256()
    for path in sorted(files):
        digest.update(f"{path}\n{len(files[path])}\n".encode() + files[path])
    return digest.hexdigest()


@lru_cache(maxsize=len(PACKAGES))
def sources(package: str) -> tuple[str, ...]:
    """The text of a package's Python files, in the order of their paths.

    Raises:
        InputError: as `installed`; a file is missing, or the sources are not those that the numbers were made with.
    """
    found = installed(package)
    names = [file.as_posix() for file in found.files or () if file.suffix == ".py" and ".." not in file.parts]
    try:
        files = {name: Path(str(found.locate_file(name))).read_bytes() for name in names}
    except OSError as error:
        raise InputError(f"cannot read {error.filename}, a source of {package}: {error.strerror}") from error
    digest, wanted = digest_of(files), PACKAGES[package][1]
    if digest[: len(wanted)] != wanted:
        raise InputError(
            f"the {len(files)} sources of {package} {found.version} have the digest {digest[: len(wanted)]}, and those of "
            f"the corpus {wanted}: they were changed after their installation (pip install --force-reinstall {package})"
        )
    return tuple(files[name].decode().replace("\r\n", "\n").replace("\r", "\n") for name in sorted(files))


@lru_cache(maxsize=8)
def tokenizer(packages: tuple[str, ...], vocab_size: int) -> Tokenizer:
    """Byte-level byte-pair encoding (Sennrich et al. 2016) within `PIECES`, learned from every eighth file of `packages`.
    The same bytes in every process, with any number of threads."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PIECES), "isolated"), bytewise])
    made.decoder = decoders.ByteLevel()
    files = [text for package in packages for text in sources(package)]
    how = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END], initial_alphabet=sorted(bytewise.alphabet()), show_progress=False
    )
    made.train_from_iterator(files[::LEARNED_FROM], how)
    if made.get_vocab_size() != vocab_size:
        raise InputError(f"vocab_size is {vocab_size}; this text gives at most {made.get_vocab_size()} tokens")
    return made


def vocabulary(learned: Tokenizer) -> tuple[str, ...]:
    """The tokens' strings, index = token id, in GPT-2's alphabet of bytes (Ġ a space, Ċ a line break)."""
    by_id = {index: token for token, index in learned.get_vocab().items()}
    return tuple(by_id[index] for index in range(len(by_id)))


@lru_cache(maxsize=8)
def encoded(packages: tuple[str, ...], learned_from: tuple[str, ...], vocab_size: int) -> Int[Tensor, "token"]:
    """All files of the packages as one line of tokens, `END` before each. Every piece is encoded once, however often it
    occurs: a tenth of the time of encoding the files, and the same tokens."""
    learned = tokenizer(learned_from, vocab_size)
    known: dict[str, list[int]] = {}
    tokens: list[int] = []
    split = re.compile(PIECES).findall
    for text in (text for package in packages for text in sources(package)):
        tokens.append(0)
        for piece in split(text):
            if piece not in known:
                known[piece] = learned.encode(piece).ids
            tokens += known[piece]
    return torch.tensor(tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Training text, held-out text and the tokens they are read in."""

    train: tuple[str, ...] = TRAIN
    held_out: tuple[str, ...] = HELD_OUT
    vocab_size: int = 1024

    @property
    def params(self) -> dict[str, Any]:
        """As a task's parameters name it."""
        return {"vocab_size": self.vocab_size, "train": list(self.train), "held_out": list(self.held_out)}

    @property
    def vocab(self) -> tuple[str, ...]:
        return vocabulary(tokenizer(self.train, self.vocab_size))

    def names(self, task: str, n: int) -> list[str]:
        """The first n tokens that are names: words of four small letters and more, with a space before them and without.

        Raises:
            InputError: there are not as many.
        """
        vocab = self.vocab
        known = {*vocab}
        found = [
            word for word in vocab if re.fullmatch("[a-z]{4,}", word) and f"Ġ{word}" in known and not iskeyword(word)
        ]
        if len(found) < n:
            raise InputError(f"{task}: n_names is {n}; a vocabulary of {self.vocab_size} has {len(found)} such names")
        return found[:n]

    def tokens(self, split: str) -> Int[Tensor, "token"]:
        """Of the split "train" or "test"."""
        return encoded(self.train if split == "train" else self.held_out, self.train, self.vocab_size)

    def windows(self, n: int, length: int, *, rng: Generator, split: str) -> Int[Tensor, "prompt pos"]:
        """n windows of `length` tokens, from anywhere in the split's text."""
        text = self.tokens(split)
        first = torch.randint(len(text) - length + 1, (n, 1), generator=rng)
        return text[first + torch.arange(length)]

    def scored(
        self, n: int, length: int, where: Callable[[Tensor], Bool[Tensor, "prompt pos"]], *, rng: Generator, split: str
    ) -> Batch:
        """n windows that are scored somewhere: where `where` says so of windows of length + 1 tokens."""

        def fit(m: int) -> tuple[Tensor, ...]:
            windows = self.windows(m, length + 1, rng=rng, split=split)
            here = where(windows)
            return tuple(part[here.any(1)] for part in (windows[:, :-1], windows[:, 1:].where(here, -1)))

        tokens, targets = fill(n, fit, what="windows of the corpus")
        return Batch(tokens=tokens.contiguous(), targets=targets.contiguous())


def corpus(task: str, train: Sequence[str], held_out: Sequence[str], vocab_size: int, length: int) -> Corpus:
    """The corpus that a task asks for, its packages looked at.

    Raises:
        InputError: a package twice or unknown, or altered; a vocabulary or a length out of range.
    """
    for name, given in (("train", train), ("held_out", held_out)):
        if isinstance(given, str) or not given or len({*given}) != len(given):
            raise InputError(f"{task}: {name} is a list of different packages, at least one, not {given!r}")
    for package in (*train, *held_out):
        installed(package)
    if both := sorted({*train} & {*held_out}):
        raise InputError(f"{task}: {', '.join(both)} is both learned from and held out")
    _check.whole(task, "vocab_size", vocab_size, low=300, high=2**15)
    _check.whole(task, "length", length, low=16)
    return Corpus(train=tuple(train), held_out=tuple(held_out), vocab_size=vocab_size)
