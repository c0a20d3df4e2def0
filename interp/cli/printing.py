"""What commands print: JSON with --json, lines otherwise."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from interp.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def show(found: Any, as_json: bool) -> None:
    """JSON, or a line for each entry."""
    if as_json:
        print_json(found)
    elif isinstance(found, dict):
        for key, value in found.items():
            print(f"{key}: {value}")
    else:
        print("\n".join(map(str, found)))


@contextmanager
def waiting(what: str, first: float = 2.0) -> Iterator[None]:
    """Says on stderr what is being done and for how long, once it has taken `first` seconds, then ever more seldom."""
    done, start = threading.Event(), time.monotonic()

    def tell() -> None:
        pause = first
        while not done.wait(pause):
            print(f"interp: {what}, {time.monotonic() - start:.0f} s …", file=sys.stderr, flush=True)
            pause = min(2 * pause, 60)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def source_of(source: str, behaviour: Sequence[str] | None = None) -> str | pd.DataFrame:
    """What a tracker wrote, as a table; anything else stays the path that it is. `behaviour`: which of a tracker's metrics say
    what the model can do."""
    from interp.exchange import is_log, read_logs

    if is_log(source):
        with waiting(f"reading {source}"):
            return read_logs(source, behaviour=behaviour or ())
    if behaviour:
        raise InputError(f"--behaviour says what a tracker's metrics are; {source} is none's log")
    return source


def table_of(source: str, behaviour: Sequence[str] | None = None) -> pd.DataFrame:
    """The table that a command is given, read: a folder of evaluation logs takes a while."""
    from interp.table import read_table

    given = source_of(source, behaviour)
    with waiting(f"reading {source}"):
        return read_table(given)


def print_json(found: Any) -> None:
    print(json.dumps(found, indent=1, default=str))


def progress(what: str, wait: float = 2.0) -> Callable[[int, int], None]:
    """A line on stderr that says how far a long look is, once it has taken `wait` seconds."""
    start = last = time.monotonic()

    def told(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - start > wait and (now - last > wait / 2 or done == total):
            last = now
            end = "\n" if done == total or not sys.stderr.isatty() else ""
            print(f"\r{done} of {total} {what}", end=end, file=sys.stderr, flush=True)

    return told
