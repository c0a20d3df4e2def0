"""Pools of processes that are started afresh (spawned), so that none inherits threads or a generator's state."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any

_HELD = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def pool(workers: int, *, script: bool = False) -> Iterator[ProcessPoolExecutor]:
    """Processes that end when this one does, however it ends, and are killed where the block raises; Ctrl-C is this one's to
    answer.

    Args:
        workers: how many.
        script: whether they import the caller's script too, as what is named `__main__:function` needs. Without it a script
            needs no `if __name__ == "__main__":`, and what it does at its top is not done once more by each of them.
    """
    context = multiprocessing.get_context("spawn") if script else _WithoutScript()
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    try:
        yield executor
    except BaseException:
        processes = list((executor._processes or {}).values())
        # What waits is not cancelled: the pool's own thread trips over that (Python 3.11).
        executor.shutdown(wait=False)
        for process in processes:
            process.kill()
        raise
    executor.shutdown(wait=True)


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802: multiprocessing's name
        with _hidden_script(), _no_signals():
            return SpawnProcess._Popen(process_obj)  # type: ignore[attr-defined]


class _WithoutScript(SpawnContext):
    Process = _Process  # type: ignore[assignment]


@contextmanager
def _hidden_script() -> Iterator[None]:
    """multiprocessing tells a new process what to import by asking `__main__` for its file."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@contextmanager
def _no_signals() -> Iterator[None]:
    """A process that is left in the middle of its start would say so by a traceback."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # inherited from `_no_signals`
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed ends at once: nobody is left to hand it work or to stop it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
