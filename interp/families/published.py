"""Weight files as research code publishes them with `torch.save`: nested, with prefixes, matrices the other way round, several
checkpoints in one file. Read as plain tensors; nothing is unpickled that could run code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

from interp.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

NESTS = ("model", "state_dict", "model_state_dict", "model_state", "params", "weights", "net", "network")
"""Keys under which training scripts keep the state dict, beside losses, settings and the optimizer's state."""

SERIES = ("state_dicts", "checkpoints", "models", "model_checkpoints")
"""Keys under which a whole run's state dicts are kept."""

STEPS = ("steps", "epochs", "checkpoint_steps", "checkpoint_epochs", "save_steps", "step", "epoch")
"""Keys under which a run's steps are kept beside its state dicts, or a checkpoint's step inside it."""

BESIDE = ("step", "epoch", "global_step", "iteration", "loss", "train_loss", "test_loss", "val_loss", "lr")
"""Numbers that stand among the weights and are none."""

OTHERS = re.compile(
    r".*(optim|sched|scaler|rng|config|args|hparams|hyper_parameters|callbacks|metrics|loss|history).*", re.I
)
"""Keys of what training scripts store beside the weights, tensors of its own included."""

WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Parts of a name that torch.compile and the sharded trainers put in, anywhere."""


def read_torch(path: Path) -> Any:
    """What a file of `torch.save` holds, on the CPU; its tensors are read where they are used.

    Raises:
        InputError: no such file, a damaged one, or one that holds objects whose unpickling would run code.
    """
    import torch

    if not path.is_file():
        raise InputError(f"no weights at {path}")
    try:
        mapped = is_zipfile(path)  # of a run in one file only the checkpoint that is asked for is read
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except UnpicklingError as error:
        raise InputError(
            f"{path} cannot be read as plain tensors: it is damaged, or unpickling it could run code (save its state_dict alone)"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, AttributeError, TypeError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} cannot be read as plain tensors: {why}") from error


def series(path: Path) -> dict[int, dict[str, Tensor]] | None:
    """The state dicts of a file that holds a whole run, by step; None for a file with one checkpoint.

    Raises:
        InputError: as `read_torch`; a run whose steps are not there, are not as many, or not different.
    """
    return _series(read_torch(path), path)


def state_dict(path: Path, *, step: int | None = None) -> dict[str, Tensor]:
    """The tensors of one checkpoint by their plain names; `step`: which, of a file that holds several.

    Raises:
        InputError: as `series`; no state dict is found, or no such step.
    """
    content = read_torch(path)
    several = _series(content, path)
    if several is not None:
        if step not in several:
            raise InputError(f"{path} holds checkpoints at steps {', '.join(map(str, several))}; name one of them")
        return _own(several[step])
    found = _inner(content)
    if found is None:
        kind = ", ".join(map(str, content)) if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise InputError(f"{path} holds no state dict (names with tensors): {kind[:200]}")
    return _own(plain_names(found, where=path))


def own_step(path: Path) -> int | None:
    """The step that a file with one checkpoint gives of itself."""
    content = read_torch(path)
    return _step(content) if isinstance(content, Mapping) else None


def plain_names(state: Mapping[str, Tensor], *, where: Path) -> dict[str, Tensor]:
    """The tensors without what wrappers put into their names: `_orig_mod.` of torch.compile, `module.` of data parallelism.

    Raises:
        InputError: two of the names are the same without.
    """
    found: dict[str, Tensor] = {}
    shared = list(state)
    for wrapper in WRAPPERS:
        shared = [name.replace(wrapper, "") for name in shared]
    while shared and all(name.startswith("module.") for name in shared):
        shared = [name.removeprefix("module.") for name in shared]
    for old, name in zip(state, shared, strict=True):
        if name in found:
            raise InputError(f"{where} has {name!r} twice, once as {old!r}")
        found[name] = state[old]
    return found


def _own(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in memory of their own: a file that changes behind a mapped one would change or end the process."""
    return {name: value.clone() for name, value in state.items()}


def _series(content: Any, path: Path) -> dict[int, dict[str, Tensor]] | None:
    found: Any
    content = _with_steps(content, path)
    if not isinstance(content, Mapping):
        found = content if isinstance(content, Sequence) and not isinstance(content, str) else None
    else:
        found = next((content[key] for key in SERIES if _holds_several(content.get(key))), None)
        if found is None and _holds_several(content) and not isinstance(_inner(content), Mapping):
            found = content
    if found is None or not _holds_several(found):
        return None
    entries = list(found.values()) if isinstance(found, Mapping) else list(found)
    steps = [_number(key) for key in found] if isinstance(found, Mapping) else []
    if not steps or None in steps:
        steps = [_step(entry) for entry in entries]
    if None in steps:
        listed = [_numbers(content[key]) for key in STEPS if key in content] if isinstance(content, Mapping) else []
        fitting = [numbers for numbers in listed if numbers is not None and len(numbers) == len(entries)]
        if not fitting:
            raise InputError(
                f"{path} holds {len(entries)} state dicts and not their steps; expected as many numbers under {STEPS[0]!r}"
                f" or {STEPS[1]!r}"
            )
        if any(numbers != fitting[0] for numbers in fitting):
            raise InputError(f"{path} holds {len(entries)} state dicts and several lists of steps that differ")
        steps = list(fitting[0])
    if len(set(steps)) < len(steps):
        raise InputError(f"{path} holds a step more than once")
    states = [plain_names(state, where=path) for entry in entries if (state := _inner(entry)) is not None]
    by_step = {int(step): state for step, state in zip(steps, states, strict=True) if step is not None}
    return dict(sorted(by_step.items()))


def _with_steps(content: Any, path: Path) -> Any:
    """A list of state dicts with the steps that stand in it or beside it: (step, state dict) pairs, (state dicts, steps), or a
    `steps.json` in the same folder."""
    if not isinstance(content, list | tuple) or not content:
        return content
    if all(isinstance(entry, list | tuple) and len(entry) == 2 for entry in content):
        steps = [_number(entry[0]) for entry in content]
        if None not in steps and _holds_several([entry[1] for entry in content]):
            return {SERIES[0]: [entry[1] for entry in content], STEPS[0]: steps}
    if len(content) == 2 and _holds_several(content[0]) and (listed := _numbers(content[1])) is not None:
        return {SERIES[0]: content[0], STEPS[0]: listed}
    beside = next((file for key in STEPS if (file := path.parent / f"{key}.json").is_file()), None)
    if beside is not None and _holds_several(content):
        try:
            return {SERIES[0]: content, STEPS[0]: json.loads(beside.read_text(encoding="utf-8"))}
        except (ValueError, RecursionError) as error:
            raise InputError(f"{beside} is not JSON: {error}") from error
    return content


def _holds_several(found: Any) -> bool:
    if isinstance(found, Mapping):
        found = list(found.values())
    return isinstance(found, list | tuple) and len(found) > 0 and all(_inner(entry) is not None for entry in found)


def _inner(content: Any) -> Mapping[str, Tensor] | None:
    """The state dict in what a file holds, however deep it is nested."""
    import torch

    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        return None
    tensors = [name for name, value in content.items() if isinstance(value, torch.Tensor)]
    if tensors and all(name in tensors or _no_weights(name, value) for name, value in content.items()):
        kept = {name: content[name] for name in tensors if name not in BESIDE}
        if any(value.ndim for value in kept.values()):
            return kept
    return next((inner for key in NESTS if (inner := _inner(content.get(key))) is not None), None)


def _no_weights(name: str, value: Any) -> bool:
    """Whether what stands among tensors holds none that could be weights left out."""
    import torch

    if isinstance(value, torch.Tensor):
        return False
    if OTHERS.fullmatch(name):
        return True
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return not any(isinstance(one, torch.Tensor) or not _no_weights("", one) for one in inner)


def _step(entry: Any) -> int | None:
    if not isinstance(entry, Mapping):
        return None
    return next(
        (step for key in ("step", "epoch", "global_step") if (step := _number(entry.get(key))) is not None), None
    )


def _numbers(found: Any) -> list[int] | None:
    """A list, tuple or tensor of whole numbers as a list; None for anything else."""
    listed = found.tolist() if hasattr(found, "tolist") else found
    if not isinstance(listed, list | tuple | range):
        return None
    numbers = [number for entry in listed if (number := _number(entry)) is not None]
    return numbers if len(numbers) == len(listed) else None


def _number(value: Any) -> int | None:
    """A whole number, also as a tensor, a whole float or the end of a name such as `step_100`; None for anything else."""
    if hasattr(value, "item") and getattr(value, "numel", lambda: 0)() == 1:
        value = value.item()
    if isinstance(value, str):
        digits = value[len(value.rstrip("0123456789")) :]
        named = value[: len(value) - len(digits)].strip("_- ").lower() in ("", "step", "epoch", "checkpoint", "ckpt")
        return int(digits) if digits and named else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value < 0:
        return None
    return int(value) if value == int(value) else None
