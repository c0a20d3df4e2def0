"""What a task is, as a digest: results of tasks with the same fingerprint may be compared and reused."""

from __future__ import annotations

import inspect
import json
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from interp import plugins
from interp.seeds import generator
from interp.tasks._text import tokenized
from interp.tasks._tokenizer import encode_pair
from interp.types import Task

if TYPE_CHECKING:
    from torch import Tensor

N_SAMPLE = 16


def fingerprint(task: Task) -> str:
    """A digest of the task's name, parameters, vocabulary, chance level, source code, and a fixed sample of what it
    gives.

    The sample (16 prompts, and 16 examples of each split of seed 0) catches what the source of the task's own file
    does not show: a helper that changed, another generator. Of a task that lists its questions all of them go in.
    """
    digest = sha256()
    facts = [task.name, task.params, task.vocab, task.n_ctx, task.answer_len, task.chance, *sorted(_sources(task))]
    digest.update(json.dumps(facts, sort_keys=True, default=repr).encode())
    if task.text is not None:
        digest.update(repr(task.text.examples).encode())
        digest.update(repr(task.text.texts(N_SAMPLE, rng=generator(0, "fingerprint", task.name))).encode())
    prompts = task.prompts(N_SAMPLE, rng=generator(0, "fingerprint", task.name))
    for name in ("clean", "corrupt", "answer", "wrong", "position", "mask"):
        digest.update(f"{name} {_text(getattr(prompts, name))}\n".encode())
    for name, split in sorted(task.splits(0).items()):
        for part in (split.tokens, split.targets):
            digest.update(f"{name} {list(part.shape)} {_text(part[:N_SAMPLE])}\n".encode())
    return digest.hexdigest()


def _sources(task: Task) -> set[str]:
    """Digests of the files that define the task: the plug-in's own, and those its functions were written in."""
    given = [task.prompts, task.splits, task.batch]
    if task.text is not None:  # what a model that reads text is asked goes through these
        score = task.text.protocol.score
        given += [task.text.texts, tokenized, encode_pair, *([] if score is None else [score])]
    modules = {inspect.getmodule(_bare(function)) for function in given}
    if task.name in plugins.names("tasks"):
        modules.add(plugins.module("tasks", task.name))
    return {sha256(inspect.getsource(module).encode()).hexdigest() for module in modules if module is not None}


def _bare(function: Any) -> Any:
    """The function as it was written, without what is bound to it or looks at its arguments."""
    inner = inspect.unwrap(function)
    return _bare(inner.func) if isinstance(inner, partial) else inner


def _text(value: Tensor | int | None) -> str:
    """Shape and numbers of a tensor; numbers are token ids, so that the text is exact."""
    if value is None or isinstance(value, int):
        return str(value)
    return f"{list(value.shape)} {value.flatten().tolist()}"
