"""Damaged files: single flipped bits, truncations, garbage and changed values, over every kind of file of a store and of a
run directory. Each must be named by `interp verify`, and after the next `interp run` the table and the checkpoints must be
the bytes that they were."""

from __future__ import annotations

import io
import json
import random
import shutil
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from experiments.benchmarks._small_run import state
from interp.engine.sweep import run_experiment
from interp.families.planned import planned_runs
from interp.families.verification import verify_target
from interp.table import store
from interp.training.grow import grow

KINDS = {
    "weights": "checkpoints/**/model.safetensors",
    "configuration": "checkpoints/**/config.json",
    "manifest": "checkpoints/**/manifest.json",
    "resume state": "checkpoints/**/resume.safetensors",
    "shard": "out/shards/*.parquet",
    "circuit": "out/circuits/*.json",
    "formation": "out/formation/*.json",
    "inherited": "out/inherited/*.json",
    "failures": "out/failures/*.json",
    "plan": "out/plan.json",
    "experiment": "out/config.yaml",
    "environment": "out/environment.json",
}
WAYS = ("flip", "flip", "truncate", "empty", "garbage", "edit", "edit")


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
