"""Reading one checkpoint while another is measured."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from interp.errors import InputError
from interp.types import CheckpointRef

if TYPE_CHECKING:
    from torch import Tensor


def read(ref: CheckpointRef) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration and the weights of a checkpoint."""
    from interp.families.read import read_config, read_weights

    return read_config(ref), read_weights(ref)


class ReadAhead:
    """One thread that fetches and reads the next checkpoint, once the present one is in the model."""

    def __init__(self) -> None:
        self.next: CheckpointRef | None = None
        self.reading: tuple[CheckpointRef, Future[tuple[dict[str, Any], dict[str, Tensor]]]] | None = None
        self.thread: ThreadPoolExecutor | None = None

    def expect(self, present: CheckpointRef, following: CheckpointRef | None) -> None:
        """What is measured now, and what comes after it; what was read for nothing is forgotten."""
        self.next = following
        if self.reading is not None and self.reading[0] != present:
            self.reading = None

    def start(self) -> None:
        """Begins to read what comes next, where that has not begun."""
        if self.next is not None and self.reading is None:
            self.thread = self.thread or ThreadPoolExecutor(max_workers=1, thread_name_prefix="interp-read")
            self.reading = self.next, self.thread.submit(read, self.next)
            self.next = None

    def settle(self) -> None:
        """Waits for what is being read: transformers' loading is not made for two threads at once."""
        if self.thread is not None:
            self.thread.submit(lambda: None).result()

    def checkpoint(self, ref: CheckpointRef) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The configuration and the weights of a checkpoint: those read ahead, or else read now (again, where reading
        ahead failed)."""
        if self.reading is not None and self.reading[0] == ref:
            future, self.reading = self.reading[1], None
            try:
                return future.result()
            except InputError:
                pass  # the hub may have come back
        return read(ref)
