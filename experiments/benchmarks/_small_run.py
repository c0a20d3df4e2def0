"""A family and an experiment of a second's work, with a file of every kind, to be run, killed and damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from interp.table import read_table, write_csv

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
MADE = ("out", "checkpoints")


def prepare(work: Path) -> dict[str, str]:
    """Writes recipe and experiment, runs them undisturbed, and returns the `state` that every other run has to end in."""
    (work / "tiny.yaml").write_text(RECIPE)
    (work / "x.yaml").write_text(EXPERIMENT)
    done = run(work)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return state(work)


def start(work: Path, *, workers: int = 2, told: Path | None = None) -> subprocess.Popen[str]:
    """`interp run` in the working folder, as a session of its own; what it says on stderr goes to the file `told`."""
    command = [
        sys.executable,
        "-m",
        "interp",
        "run",
        "x.yaml",
        "--out",
        "out",
        "--workers",
        str(workers),
        "--no-report",
    ]
    with (told or work / "told").open("w") as said:
        return subprocess.Popen(
            command,
            cwd=work,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=said,
            text=True,
            env=_compiled(),
        )


def run(work: Path, *, workers: int = 2) -> subprocess.CompletedProcess[str]:
    """The same to its end."""
    process = start(work, workers=workers)
    return subprocess.CompletedProcess(process.args, process.wait(), stderr=(work / "told").read_text())


def state(work: Path) -> dict[str, str]:
    """The digests of the table and of every checkpoint's files (resume states come back only when a run goes on)."""
    found = {"table": sha256(write_csv(read_table(work / "out")).encode()).hexdigest()}
    for path in sorted((work / "checkpoints").glob("*/*/*/seed*/step*/*.*")):
        if path.name != "resume.safetensors":
            found[str(path.relative_to(work))] = sha256(path.read_bytes()).hexdigest()
    return found


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


def _compiled() -> dict[str, str]:
    """The environment, with compiled modules kept: a run of a second's work starts three processes."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
