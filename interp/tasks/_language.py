"""Language skills with a small vocabulary of words: one template, slots, and a contrast.

A template is words and slots with spaces between them; every prompt fills the slots. `##` marks a word that is
written without the space before it. The text form for a pretrained tokenizer is the same sentence, written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from interp.tasks import _check
from interp.tasks._positions import fixed
from interp.tasks._splits import drawn, fill, held_out, sequences
from interp.types import Batch, Prompts, Structure, Task, TextForm, Texts

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Generator, Tensor

Slots = Mapping[str, "Int[Tensor, 'prompt']"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How a skill is put into words.

    templates: sentences of the same number of words with the same slots, `{subject}`, at the same places.
    sample: `sample(n, rng) -> (clean slots, corrupt slots, answer, wrong)`, word ids of `vocab`.
    needs: the slots that the answer depends on.
    """

    name: str
    templates: tuple[str, ...]
    vocab: tuple[str, ...]
    test_fraction: float
    sample: Callable[[int, Generator], tuple[Slots, Slots, Tensor, Tensor]]
    needs: tuple[str, ...]


def words(text: str) -> tuple[str, ...]:
    """Words listed with spaces between them."""
    return tuple(text.split())


def vocabulary(templates: Sequence[str], *fillers: Sequence[str]) -> tuple[str, ...]:
    """Every word once: those that fill slots first, then those of the templates."""
    slots = [word for group in fillers for word in group]
    rest = [word for template in templates for word in template.split() if not word.startswith("{")]
    return tuple(dict.fromkeys([*slots, *rest]))


def ids(vocab: Sequence[str], chosen: Sequence[str]) -> Int[Tensor, "word"]:
    index = {word: token for token, word in enumerate(vocab)}
    return torch.tensor([index[word] for word in chosen])


def pick(chosen: Int[Tensor, "word"], n: int, rng: Generator) -> Int[Tensor, "prompt"]:
    """A uniform choice for every prompt."""
    return chosen[torch.randint(len(chosen), (n,), generator=rng)]


def task(wording: Wording, *, params: Mapping[str, Any], chance: float, structure: Structure | None = None) -> Task:
    """The task of a wording: one answer word after the template; a hash of the sentence deals it to training or
    test."""
    _check.fraction(wording.name, "test_fraction", wording.test_fraction)
    places = _places(wording)
    n_words = len(wording.templates[0].split())
    return Task(
        name=wording.name,
        params=params,
        vocab=wording.vocab,
        n_ctx=n_words,
        chance=chance,
        prompts=partial(prompts, wording),
        **drawn(partial(draw, wording), what=wording.name),
        structure=replace(
            structure or Structure(),
            required=lambda tokens: fixed(tokens, [(n_words - 1, [places[slot] for slot in wording.needs])]),
            positions=places,
        ),
        text=TextForm(texts=partial(texts, wording)),
    )


def draw(wording: Wording, n: int, *, rng: Generator, seed: int, split: str) -> Batch:
    pairs = prompts(wording, n, rng=rng, seed=seed, split=split)
    return sequences(pairs.clean, pairs.answer[:, None])


def prompts(wording: Wording, n: int, *, rng: Generator, seed: int = 0, split: str = "test") -> Prompts:
    def fit(m: int) -> tuple[Tensor, ...]:
        clean, corrupt, answer, wrong = wording.sample(m, rng)
        which = torch.randint(len(wording.templates), (m,), generator=rng)
        pair = _fill_in(wording, which, clean), _fill_in(wording, which, corrupt)
        keep = held_out(pair[0], seed=seed, fraction=wording.test_fraction) == (split == "test")
        return tuple(x[keep] for x in (*pair, answer, wrong))

    clean, corrupt, answer, wrong = fill(n, fit, what=wording.name)
    return Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=wrong)


def texts(wording: Wording, n: int, *, rng: Generator, seed: int = 0, split: str = "test") -> Texts:
    """The same sentences written out; answers with the space before them."""
    pairs = prompts(wording, n, rng=rng, seed=seed, split=split)
    clean, corrupt = (tuple(_sentence(wording, row) for row in x.tolist()) for x in (pairs.clean, pairs.corrupt))
    answer, wrong = (
        tuple(_sentence(wording, [-1, token])[3:] for token in x.tolist()) for x in (pairs.answer, pairs.wrong)
    )
    return Texts(clean=clean, corrupt=corrupt, answer=answer, wrong=wrong)


def _sentence(wording: Wording, row: Sequence[int]) -> str:
    return " ".join("..." if token < 0 else wording.vocab[token] for token in row).replace(" ##", "")


def _places(wording: Wording) -> dict[str, int]:
    """Where each slot is, the same in all templates."""
    layouts = [
        {word[1:-1]: at for at, word in enumerate(template.split()) if word.startswith("{")}
        for template in wording.templates
    ]
    assert all(layout == layouts[0] for layout in layouts), f"the templates of {wording.name} have different layouts"
    return layouts[0]


def _fill_in(wording: Wording, which: Int[Tensor, "prompt"], slots: Slots) -> Int[Tensor, "prompt pos"]:
    bare = [[word if not word.startswith("{") else wording.vocab[0] for word in t.split()] for t in wording.templates]
    rows = torch.stack([ids(wording.vocab, row) for row in bare])[which]
    for slot, at in _places(wording).items():
        rows[:, at] = slots[slot]
    return rows
