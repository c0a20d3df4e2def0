"""Kills of `interp run` while it grows and sweeps, and of Dask workers while they measure: afterwards no process may be left,
and the next run has to end with the same bytes."""

from __future__ import annotations

import io
import logging
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import redirect_stderr, suppress
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

from experiments.benchmarks._small_run import MADE, run, session, start, state
from interp.engine.sweep import run_experiment

HOW = ("parent", "worker", "group", "SIGTERM")
ORPHAN_SECONDS = 15.0
AFTER_A_FILE = 0.05
"""Seconds after a file appeared within which a kill falls: some ten files are written in that time."""


def kills(work: Path, wanted: dict[str, str], *, n: int, rng: random.Random) -> dict[str, Any]:
    """Kills of one process or all of them, of runs with one worker and with two. Half of them at any moment of a run,
    whose length is taken first (most of it is imports); half just after one of its files appeared. A run is
    killed until it comes to its end, then another begins from nothing. A kill that comes too late is none."""
    length = {workers: _length(work, workers) for workers in (1, 2)}
    counts: Counter[str] = Counter()
    files = _files(work)
    while counts["tried"] < n:
        for name in MADE:
            shutil.rmtree(work / name, ignore_errors=True)
        workers, tried = rng.choice((1, 2)), 0
        while tried < 6 and counts["tried"] + tried < n:
            how = rng.choice(HOW)
            after = _moment(work, rng, length[workers], files)
            hit, left = _killed(work, how, after, workers, rng)
            counts["orphans"] += left
            counts["tracebacks"] += _is_traceback((work / "told").read_text(), how)
            if not hit:
                break
            tried += 1
            counts[how] += 1
        done = run(work, workers=workers)
        counts["tried"] += tried
        counts[f"of a run with {workers} worker{'s' * (workers > 1)}"] += tried
        counts["survived"] += tried * (done.returncode == 0 and state(work) == wanted)
        counts["tracebacks"] += _is_traceback(done.stderr, "the run after kills")
        print(f"kills: {counts['survived']} of {counts['tried']} survived", file=sys.stderr, flush=True)
    return {"kills": dict(sorted(counts.items())), "seconds of a run": {k: round(v, 1) for k, v in length.items()}}


def _is_traceback(told: str, when: str) -> bool:
    """Whether a traceback was told; shown where there is one."""
    found = "Traceback" in told
    if found:
        print(f"--- told at {when}:\n{told}---", file=sys.stderr, flush=True)
    return found


def _length(work: Path, workers: int) -> float:
    """Seconds that a run takes from nothing."""
    for name in MADE:
        shutil.rmtree(work / name, ignore_errors=True)
    started = time.monotonic()
    run(work, workers=workers)
    return time.monotonic() - started


def _files(work: Path) -> int:
    """How many files a run has written."""
    return sum(len(files) for name in MADE for _, _, files in os.walk(work / name))


def _moment(work: Path, rng: random.Random, length: float, files: int) -> tuple[float, int]:
    """When to kill: (seconds, the number of files before that)."""
    there = _files(work)
    if rng.random() < 0.5 or there + 1 >= files:
        return rng.uniform(0, length), 0
    return rng.uniform(0, AFTER_A_FILE), rng.randrange(there + 1, files)


def _killed(work: Path, how: str, after: tuple[float, int], workers: int, rng: random.Random) -> tuple[bool, int]:
    """Starts a run and kills what is asked for: whether the kill came before the end, and how many processes are left
    afterwards."""
    process = start(work, workers=workers)
    seconds, files = after
    while process.poll() is None and _files(work) < files:
        time.sleep(0.002)
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    hit = process.poll() is None and _send(process, how, rng)
    process.wait()
    until = time.monotonic() + ORPHAN_SECONDS
    while (left := session(process.pid)) and time.monotonic() < until:
        time.sleep(0.2)
    for one in left:
        os.kill(one, signal.SIGKILL)
    return hit, len(left)


def _send(process: Popen[str], how: str, rng: random.Random) -> bool:
    """The kill; False where there is nobody to kill (no worker yet)."""
    if how == "worker":
        others = [one for one in session(process.pid) if one != process.pid and not _is_tracker(one)]
        if not others:
            how = "parent"
        else:
            os.kill(rng.choice(others), signal.SIGKILL)
    if how == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif how != "worker":
        os.kill(process.pid, signal.SIGTERM if how == "SIGTERM" else signal.SIGKILL)
    return True


def _is_tracker(process: int) -> bool:
    """Whether this is the helper process of Python's multiprocessing, which does no work of ours and speaks for itself."""
    with suppress(OSError):
        return b"resource_tracker" in Path(f"/proc/{process}/cmdline").read_bytes()
    return False


def dask_kills(work: Path, wanted: dict[str, str], *, n: int, rng: random.Random) -> dict[str, Any]:
    """Kills of one Dask worker of two (now and then of both) at a random moment of a sweep; another is started in its place
    at once, as a batch system does. A sweep that ends with something missing is swept again."""
    counts: Counter[str] = Counter()
    with _Cluster() as cluster:
        length = min(_swept(work, cluster)[1] for _ in range(3))
        while counts["tried"] < n:
            cluster.wait()
            chosen = [0, 1] if rng.random() < 0.2 else [rng.randrange(2)]
            ended, hit = threading.Event(), threading.Event()
            after = rng.uniform(0, length)

            def kill(chosen: list[int] = chosen, after: float = after, ended: Any = ended, hit: Any = hit) -> None:
                if not ended.wait(after):
                    hit.set()
                    cluster.kill(chosen)

            killer = threading.Thread(target=kill)
            killer.start()
            found, _ = _swept(work, cluster)
            ended.set()
            killer.join()
            if not hit.is_set():
                continue
            counts["tried"] += 1
            counts["both workers" if len(chosen) > 1 else "one worker"] += 1
            if found["missing"] or found["failures"]:
                counts["swept again"] += 1
                _swept(work, cluster, anew=False)
            counts["survived"] += state(work) == wanted
            print(f"dask: {counts['survived']} of {counts['tried']} survived", file=sys.stderr, flush=True)
    return {"kills of Dask workers": dict(sorted(counts.items())), "seconds of a sweep": round(length, 2)}


class _Cluster:
    """A scheduler, a client, and two workers of two threads each in processes of their own."""

    def __enter__(self) -> _Cluster:
        from distributed import Client, LocalCluster

        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self.local = LocalCluster(n_workers=0, dashboard_address=None, silence_logs=logging.CRITICAL)
        self.client = Client(self.local)
        self.workers = [self._start(), self._start()]
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.client.close()
        self.local.close()

    def kill(self, chosen: list[int]) -> None:
        """Kills these workers, then starts others."""
        for which in chosen:
            self.workers[which].kill()
        for which in chosen:
            self.workers[which].wait()
            self.workers[which] = self._start()

    def wait(self) -> None:
        """Until both have imported what they measure with, so that a kill falls into measuring."""
        there: set[int] = set()
        while {worker.pid for worker in self.workers} - there:
            time.sleep(0.2)
            with suppress(OSError):  # one that the scheduler does not know to be gone
                there = set(self.client.run(_warm).values())

    def _start(self) -> Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_worker", self.local.scheduler_address]
        command += ["--no-nanny", "--nthreads", "2", "--no-dashboard"]
        return Popen(command, stdout=DEVNULL, stderr=DEVNULL)


def _swept(work: Path, cluster: _Cluster, *, anew: bool = True) -> tuple[dict[str, Any], float]:
    """What `run_experiment` gives through the cluster, and the seconds that it took."""
    if anew:
        shutil.rmtree(work / "out", ignore_errors=True)
    started, executor = time.monotonic(), cluster.client.get_executor()
    with redirect_stderr(io.StringIO()):
        found = run_experiment(work / "x.yaml", work / "out", root=work / "checkpoints", executor=executor)
    return found, time.monotonic() - started


def _warm() -> int:
    import transformer_lens.model_bridge

    assert transformer_lens.model_bridge
    return os.getpid()
