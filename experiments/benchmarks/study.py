"""How far a study is from an afternoon: 300 runs of the study's families, extrapolated from a sample by the stages of `--profile`.

    python -m experiments.benchmarks.study [--runs 1] [--checkpoints 8] [--statistics addition_mod]

Goal: 300 runs (training, 60 checkpoints each, some 30 measures, circuits at every other checkpoint, statistics, report) in an hour
on two cores, that is 7200 s of processor time. Sampled, so that it takes minutes:

- Training: `--runs` whole runs of the base setting of each of the seven families, × 300 over their number.
- Measuring: `--checkpoints` neighbouring ones from the middle of each run, with a circuit at every other one, × 60 over their number too.
  (Neighbours, since measures that compare look at the checkpoint before, which a sweep has seen already.)
- Starting processes: what a family's sweep pays whatever it measures, twice a family (two cores).
- Statistics and report: of one family whole, from the study's committed table (nulls need tens of runs), × 300 over its runs.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from experiments.study.measuring import FAMILIES, HERE, TABLE
from interp.engine.checks import read_experiment
from interp.engine.profile import REST, Profile, profiling
from interp.engine.sweep import run_experiment
from interp.families.planned import planned_runs
from interp.report import write_report

RUNS, CHECKPOINTS, CORES, GOAL = 300, 60, 2, 3600.0
ONCE = (REST,)
"""Paid by every process of a family's sweep."""
PER_RUN = ("training",)


def sample(family: str, n_runs: int, n_checkpoints: int, folder: Path) -> Mapping[str, float]:
    """Processor seconds by stage of growing and measuring some of a family, one process each."""
    experiment, recipe = read_experiment(HERE / f"{family}.yaml"), HERE / "recipes" / f"{family}.yaml"
    run = planned_runs(recipe)[0]
    middle = max((len(run.schedule) - n_checkpoints) // 2, 0)
    chosen = {"sizes": (run.size,), "settings": (run.setting,), "seeds": tuple(range(n_runs))}
    steps = tuple(run.schedule[middle : middle + n_checkpoints])
    families = tuple(replace(one, steps=steps, **chosen) for one in experiment.families)
    assert experiment.circuits is not None
    experiment = replace(experiment, families=families, circuits=replace(experiment.circuits, every=2))
    with profiling() as profile:
        done = run_experiment(experiment, folder / family, root=folder / "checkpoints", workers=1)
    assert isinstance(profile, Profile)
    if done["failures"] or done["missing"]:
        raise SystemExit(f"{family}: {done['failures'][:1] or done['missing'][:1]}")
    return profile.to_json()["seconds"]


def judged(family: str, folder: Path) -> tuple[Mapping[str, float], int]:
    """Processor seconds of the report of a family's committed rows, jumps and leads in it, and how many runs it has."""
    parts = [pd.read_parquet(path) for path in sorted(TABLE.glob(f"{family}.*.parquet"))]
    table = pd.concat(parts, ignore_index=True).drop(columns=["part", "lock"])
    with profiling() as profile:
        write_report(table, folder / f"{family}.html")
    assert isinstance(profile, Profile)
    seconds = profile.to_json()["seconds"]
    seconds["report"] = seconds.pop(REST)
    return seconds, int(table["run"].nunique())


def extrapolated(sampled: Mapping[str, float], n_runs: int, n_checkpoints: int) -> dict[str, float]:
    """Of the sum over families, by stage, to RUNS runs of CHECKPOINTS checkpoints."""
    runs = RUNS / (n_runs * len(FAMILIES))
    return {
        name: second * (CORES if name in ONCE else runs if name in PER_RUN else runs * CHECKPOINTS / n_checkpoints)
        for name, second in sampled.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1, help="of each family")
    parser.add_argument("--checkpoints", type=int, default=8, help="of each run")
    parser.add_argument(
        "--statistics", default="addition_mod", choices=FAMILIES, help="the family that is judged whole"
    )
    args = parser.parse_args()
    sampled: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for family in FAMILIES:
            own = sample(family, args.runs, args.checkpoints, Path(folder))
            print(f"{family}: {sum(own.values()):.0f} s sampled, {own['training']:.1f} of training", flush=True)
            sampled.update(own)
        whole = extrapolated(sampled, args.runs, args.checkpoints)
        found, n_runs = judged(args.statistics, Path(folder))
    sampled.update(found)
    whole |= {name: second * RUNS / n_runs for name, second in found.items()}
    print(f"\n{'stage':34s}{'sampled, s':>12s}{f'{RUNS} runs, s':>14s}{'share':>8s}")
    total = sum(whole.values())
    for name, second in sorted(whole.items(), key=lambda one: -one[1]):
        print(f"{name:34s}{sampled[name]:12.1f}{second:14.0f}{second / total:8.1%}")
    print(
        f"\n{total:.0f} s of processor time: {total / CORES / 60:.0f} minutes on {CORES} cores, {total / CORES / GOAL:.2f} of an hour"
    )


if __name__ == "__main__":
    main()
