"""Where the processor time of a run goes: `with profiling() as profile`, and `with stage("loading")` where such work is done.

A part's seconds are its own: those of a part inside of it count there. Where nothing records, a part costs one look-up.
Processes that work for this one record their parts and hand them back (`add`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ContextDecorator, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

try:
    from resource import RUSAGE_CHILDREN, getrusage
except ImportError:  # not a Unix: processes that have ended are not counted
    getrusage = None  # type: ignore[assignment]

REST = "starting processes, and the rest"


@dataclass(slots=True, kw_only=True, eq=False)
class Profile:
    """seconds: processor time by part, in the order in which parts were first met. whole: all of it, of this process and of those
    that it started and that have ended."""

    seconds: dict[str, float] = field(default_factory=dict)
    whole: float = 0.0
    _open: list[str] = field(default_factory=list)
    _since: float = 0.0

    def enter(self, name: str) -> None:
        self._count()
        self.seconds.setdefault(name, 0.0)
        self._open.append(name)

    def leave(self) -> None:
        self._count()
        self._open.pop()

    def _count(self) -> None:
        """What was spent since the last change of part is the innermost one's."""
        now = spent()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def add(self, seconds: Mapping[str, float]) -> None:
        """What another process spent."""
        for name, more in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + more

    def to_json(self) -> dict[str, Any]:
        """`whole`, and `seconds` by part, the largest first, with what no part counts (`REST`). On other machines (Dask's, say)
        only parts are counted."""
        rest = max(self.whole - sum(self.seconds.values()), 0.0)
        parts = sorted([*self.seconds.items(), (REST, rest)], key=lambda one: -one[1])
        return {"whole": sum(second for _, second in parts), "seconds": dict(parts)}

    def __str__(self) -> str:
        told = self.to_json()
        width = max(map(len, told["seconds"]))
        lines = [
            f"  {name:<{width}} {second:9.2f} s {second / max(told['whole'], 1e-9):6.1%}"
            for name, second in told["seconds"].items()
        ]
        return "\n".join([f"processor time, {told['whole']:.2f} s:", *lines])


_profile: ContextVar[Profile | None] = ContextVar("profile", default=None)


@contextmanager
def profiling(wanted: bool = True) -> Iterator[Profile | None]:
    """Records every `stage` of this thread until the block ends; None where it is not wanted."""
    if not wanted:
        yield None
        return
    profile, start = Profile(), spent()
    token = _profile.set(profile)
    try:
        yield profile
    finally:
        profile.whole = spent() - start
        _profile.reset(token)


def recording() -> bool:
    """Whether parts are recorded here."""
    return _profile.get() is not None


def add(seconds: Mapping[str, float]) -> None:
    """Hands what another process spent to the profile that records here, if one does."""
    profile = _profile.get()
    if profile is not None:
        profile.add(seconds)


class stage(ContextDecorator):
    """A stage of the work, as a block (`with stage("loading"):`) or a whole function (`@stage("loading")`)."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        profile = _profile.get()
        if profile is not None:
            profile.enter(self.name)

    def __exit__(self, *_: object) -> None:
        profile = _profile.get()
        if profile is not None:
            profile.leave()


def spent() -> float:
    """Processor seconds of this process, its threads included, and of the children that it has waited for."""
    if getrusage is None:
        return time.process_time()
    children = getrusage(RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
