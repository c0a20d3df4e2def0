"""Kills and damages: what a run survives, and what is told of it.

    python -m experiments.benchmarks.reliability [--damages 200] [--kills 20] [--seed 0]

Damages: single flipped bits, truncations, garbage and changed values, over every kind of file of a store and of a run
directory. Each must be named by `interp verify`, and after the next `interp run` the table and the checkpoints must be
the bytes that they were. Kills: `interp run` while it grows and sweeps, by SIGKILL of the parent alone, of one worker,
and of all processes, and by SIGTERM; afterwards no process may be left, and after as many reruns as it takes the same
bytes must be there.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from interp.engine.sweep import run_experiment
from interp.families.planned import planned_runs
from interp.families.verification import verify_target
from interp.table import read_table, store, write_csv
from interp.training.grow import grow

RECIPE = """name: tiny
task: {name: modular_addition, params: {p: 7, train_fraction: 0.8, split: unordered}}
model: {n_layers: 1, n_heads: 2, act_fn: relu, normalization_type: null}
sizes: {d8: {d_model: 8, d_head: 4, d_mlp: 32}}
seeds: [0]
optimizer: {name: adamw, lr: 2.0e-3, weight_decay: 1, betas: [0.9, 0.98], warmup: 2}
steps: 40
checkpoints: {every: 8}
"""
EXPERIMENT = """name: x
families: [{recipe: tiny.yaml}]
tasks: [{name: modular_addition, n_prompts: 8}]
measures: [exact_match, log_prob, weight_norm, cka_previous, circuit_similarity]
circuits: {method: patching, every: 1, n_prompts: 4}
"""
KINDS = {
    "weights": "checkpoints/**/model.safetensors",
    "configuration": "checkpoints/**/config.json",
    "manifest": "checkpoints/**/manifest.json",
    "resume state": "checkpoints/**/resume.safetensors",
    "shard": "out/shards/*.parquet",
    "circuit": "out/circuits/*.json",
    "formation": "out/formation/*.json",
    "failures": "out/failures/*.json",
    "plan": "out/plan.json",
    "experiment": "out/config.yaml",
    "environment": "out/environment.json",
}
WAYS = ("flip", "flip", "truncate", "empty", "garbage", "edit", "edit")
ORPHAN_SECONDS = 15.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("damages", 200), ("kills", 20), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "tiny.yaml").write_text(RECIPE)
        (work / "x.yaml").write_text(EXPERIMENT)
        assert run(work).returncode == 0
        wanted = state(work)
        if args.damages:
            print(json.dumps(damages(work, wanted, n=args.damages, rng=random.Random(args.seed)), indent=1))
        if args.kills:
            print(json.dumps(kills(work, wanted, n=args.kills, rng=random.Random(args.seed)), indent=1))


def run(work: Path) -> subprocess.CompletedProcess[str]:
    """`interp run` in the working folder."""
    command = [sys.executable, "-m", "interp", "run", "x.yaml", "--out", "out", "--workers", "2", "--no-report"]
    return subprocess.run(command, cwd=work, capture_output=True, text=True)


def state(work: Path) -> dict[str, str]:
    """The digests of the table and of every checkpoint's files (resume states come back only when a run goes on)."""
    found = {"table": sha256(write_csv(read_table(work / "out")).encode()).hexdigest()}
    for path in sorted((work / "checkpoints").glob("*/*/*/seed*/step*/*.*")):
        if path.name != "resume.safetensors":
            found[str(path.relative_to(work))] = sha256(path.read_bytes()).hexdigest()
    return found


def damages(work: Path, wanted: dict[str, str], *, n: int, rng: random.Random) -> dict[str, Any]:
    """Batches of one damaged file of each kind: each is to be named, all are to be healed by one run. In this process,
    which spares the start of two others a batch."""
    counts: Counter[str] = Counter()
    silent: list[str] = []
    while counts["tried"] < n:
        store.write_failures(work / "out", "a unit of before", [{"unit": "u", "task": "", "measure": "", "error": "e"}])
        done = {}
        for kind, pattern in KINDS.items():
            paths = sorted(path for path in work.glob(pattern) if "damaged" not in path.parts)
            path, way = rng.choice(paths), rng.choice(WAYS)
            done[path] = f"{kind}: {way}"
            spoil(path, way, rng)
        said = " ".join(problems(work))
        for path, what in done.items():
            counts["tried"] += 1
            counts[what] += 1
            name = path.name if path.is_relative_to(work / "out") else path.parent.name
            counts["named"] += name in said
            if name not in said:
                silent.append(f"{what}: {path.name}")
        heal(work)
        counts["healed"] += len(done) * (not problems(work) and state(work) == wanted)
    return {"damages": dict(sorted(counts.items())), "silent": silent}


def problems(work: Path) -> list[str]:
    """What `interp verify` says of the run directory and of the family."""
    in_run = store.verify(work / "out")["problems"]
    return in_run + verify_target("tiny", root=work / "checkpoints")["problems"]


def heal(work: Path) -> None:
    """What `interp run` does, in this process; where resume states were set aside, the family is grown from nothing, so
    that every batch has one to damage."""
    run = planned_runs(work / "tiny.yaml")[0]
    grow(run, work / "checkpoints")
    if not list(run.folder(work / "checkpoints").glob("step*/resume.safetensors")):
        shutil.rmtree(run.folder(work / "checkpoints"))
        grow(run, work / "checkpoints")
    with ThreadPoolExecutor(1) as executor, redirect_stderr(io.StringIO()):
        run_experiment(work / "x.yaml", work / "out", root=work / "checkpoints", executor=executor)


def spoil(path: Path, way: str, rng: random.Random) -> None:
    """Damages a file."""
    content = path.read_bytes()
    if way == "flip":
        place, bit = rng.randrange(len(content)), rng.randrange(8)
        content = content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
    elif way == "truncate":
        content = content[: rng.randrange(1, len(content))]
    elif way == "empty":
        content = b""
    elif way == "garbage":
        content = rng.randbytes(len(content))
    else:
        content = edited(path, rng)
    path.write_bytes(content)


def edited(path: Path, rng: random.Random) -> bytes:
    """The file with one value changed, and still of its form."""
    if path.suffix == ".json":
        data = json.loads(path.read_text())
        change(data, rng)
        return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()
    if path.suffix == ".yaml":
        return path.read_text().replace("n_prompts: 8", "n_prompts: 9").encode()
    if path.suffix == ".parquet":
        rows, content = pd.read_parquet(path), io.BytesIO()
        rows.loc[rng.randrange(len(rows)), "value"] += 0.25
        rows.to_parquet(content, index=False)
        return content.getvalue()
    tensors = load_file(path)
    name = rng.choice(sorted(tensors))
    tensors[name] = np.asarray(tensors[name] + tensors[name].dtype.type(1))
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder) / "edited")
        return (Path(folder) / "edited").read_bytes()


def change(data: Any, rng: random.Random) -> None:
    """Changes one leaf of plain data."""
    keys = list(data) if isinstance(data, dict) else list(range(len(data)))
    key = rng.choice([key for key in keys if data[key] not in ({}, [])])
    value = data[key]
    if isinstance(value, dict | list):
        change(value, rng)
    else:
        data[key] = value + 1 if isinstance(value, int | float) else f"{value}x"


def kills(work: Path, wanted: dict[str, str], *, n: int, rng: random.Random) -> dict[str, Any]:
    """Kills at random moments of growing and sweeping from nothing; when a run has come to its end, from nothing again."""
    counts: Counter[str] = Counter()
    while counts["tried"] < n:
        for name in ("out", "checkpoints"):
            shutil.rmtree(work / name, ignore_errors=True)
        for _ in range(4):
            how = rng.choice(("parent", "worker", "group", "SIGTERM"))
            counts["tried"] += 1
            counts[how] += 1
            counts["orphans"] += killed(work, how, rng)
        done = [run(work) for _ in range(2)]  # a worker's death may leave a unit for the second
        counts["survived"] += 4 * (done[-1].returncode == 0 and state(work) == wanted)
        counts["tracebacks"] += sum("Traceback" in each.stderr for each in done)
    return {"kills": dict(sorted(counts.items()))}


def killed(work: Path, how: str, rng: random.Random) -> int:
    """Starts a run, kills what is asked for at a random moment, and counts the processes that are left afterwards."""
    command = [sys.executable, "-m", "interp", "run", "x.yaml", "--out", "out", "--workers", "2", "--no-report"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=work, start_new_session=True, **quiet)  # type: ignore[call-overload]
    time.sleep(rng.uniform(2, 14))
    workers = [one for one in session(process.pid) if one != process.pid]
    if how == "worker" and workers:
        os.kill(rng.choice(workers), signal.SIGKILL)
        process.wait()
    elif process.poll() is None:
        if how == "group":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGTERM if how == "SIGTERM" else signal.SIGKILL)
    process.wait()
    until = time.monotonic() + ORPHAN_SECONDS
    while (left := session(process.pid)) and time.monotonic() < until:
        time.sleep(0.2)
    for one in left:
        os.kill(one, signal.SIGKILL)
    return len(left)


def session(leader: int) -> list[int]:
    """The processes of a session, zombies left out (Linux: from /proc)."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields and int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(entry.name))
    return found


if __name__ == "__main__":
    main()
