"""Growing the models and measuring them: from the recipe to the rows that are committed."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from interp.engine.sweep import run_experiment
from interp.families.planned import planned_runs
from interp.table import read_table
from interp.tasks._corpus import PACKAGES, Corpus, tokenizer

HERE = Path(__file__).parent
TABLE, CORPUS = HERE / "table.parquet", HERE / "corpus.json"
EXPERIMENTS = ("text", "skills")
COLUMNS = (
    "run", "step", "task", "measure", "component", "position", "value", "stderr", "n", "unit", "kind", "online",
    "family", "size", "n_params", "setting", "seed", "tokens", "budget",
)  # fmt: skip


def measure(out: Path, *, root: Path | None, workers: int) -> int:
    """Grows and measures what is missing, and writes the table and what the text was; the number of checkpoints that failed."""
    CORPUS.write_text(json.dumps(corpus(), indent=1) + "\n", encoding="utf-8")
    done = [run_experiment(HERE / f"{name}.yaml", out / name, root=root, workers=workers) for name in EXPERIMENTS]
    failed = sum(len(one["failures"]) + len(one["missing"]) for one in done)
    if not failed:
        write_table([out / name for name in EXPERIMENTS])
    return failed


def write_table(runs: list[Path]) -> None:
    """The rows of the run directories, in single precision."""
    rows = pd.concat([read_table(run).reindex(columns=COLUMNS) for run in runs])
    for column in rows.select_dtypes("float64"):
        rows[column] = rows[column].astype("float32")
    order = ["run", "task", "measure", "component", "position", "step"]
    rows.sort_values(order).to_parquet(TABLE, index=False, compression="zstd", compression_level=19)


def corpus() -> dict[str, Any]:
    """The packages with version and digest, and how many tokens there are of them."""
    params = planned_runs(HERE / "recipes" / "language.yaml")[0].task["params"]
    text = Corpus(train=tuple(params["train"]), held_out=tuple(params["held_out"]), vocab_size=params["vocab_size"])
    learned = tokenizer(text.train, text.vocab_size)
    return {
        "packages": {name: {"version": PACKAGES[name][0], "sha256": PACKAGES[name][1]} for name in sorted(PACKAGES)},
        "train": list(text.train),
        "held_out": list(text.held_out),
        "vocab_size": text.vocab_size,
        "tokenizer_sha256": sha256(learned.to_str().encode()).hexdigest()[:16],
        "tokens": {split: len(text.tokens(split)) for split in ("train", "test")},
        "shared_windows": shared_windows(text),
    }


def shared_windows(text: Corpus, length: int = 32) -> float:
    """The share of the held-out text's windows of `length` tokens that stand in the training text too, by a hash of 64 bits."""
    train, test = (_hashes(text.tokens(split).numpy().astype(np.uint64), length) for split in ("train", "test"))
    return round(float(np.isin(test, train).mean()), 5)


def _hashes(tokens: np.ndarray, length: int) -> np.ndarray:
    """Of every window: a polynomial of its tokens, modulo 2^64."""
    n, found = len(tokens) - length + 1, np.zeros(len(tokens) - length + 1, dtype=np.uint64)
    for at in range(length):
        found = found * np.uint64(6364136223846793005) + tokens[at : at + n] + np.uint64(1)
    return found
