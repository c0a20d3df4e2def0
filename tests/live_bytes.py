"""How many bytes of tensors are alive at most while something runs, counted as torch makes and drops storages: exact, and
the same on every machine, which the resident size of a process is not."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Within: `live`, the bytes of the tensors made so far that are still there, and the most that there were, `peak`."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        output = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in inputs and storage._cdata not in self.known:
                    self.known.add(storage._cdata)
                    self.live += storage.nbytes()
                    self.peak = max(self.peak, self.live)
                    weakref.finalize(storage, self.dropped, storage._cdata, storage.nbytes())
        return output

    def dropped(self, which: int, n_bytes: int) -> None:
        self.known.discard(which)
        self.live -= n_bytes


def peak_bytes(run: Callable[[], Any]) -> int:
    """The most bytes that tensors made during `run` held at one time."""
    with LiveBytes() as tracker:
        kept = run()
    del kept
    return tracker.peak
