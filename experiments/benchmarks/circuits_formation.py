"""When did it form? Circuits planted in real training runs, and runs without one: the error in checkpoints.

    python experiments/benchmarks/circuits_formation.py FAMILY [--root checkpoints] [--programs shift compare] [--every 2]

Every program is spliced into each of the family's runs (native models without norms, as modular addition has) at three
places of the schedule, in all three kinds of formation, and once not at all. Counts: |found − planted| in checkpoints,
and null runs in which something was called.
"""

from __future__ import annotations

import argparse
from collections import Counter
from itertools import groupby
from typing import get_args

import torch

import interp
from interp.circuits.formation import track_circuit
from interp.testbed import PROGRAMS, spliced
from interp.testbed.planted import Kind
from interp.types import CheckpointRef

PLACES = (0.3, 0.5, 0.8)


def error(program: str, refs: list[CheckpointRef], place: int | None, kind: Kind, seed: int, n_prompts: int) -> str:
    """Checkpoints between the found and the planted formation, `missed`, or for a null run `silent` or `called`."""
    run = spliced(program, refs, None if place is None else refs[place].step, kind=kind, seed=seed)
    prompts = run.built.prompts(n_prompts, rng=torch.Generator().manual_seed(seed))
    found = track_circuit(run.model, run.states(), prompts).interval
    if place is None:
        return "silent" if found is None else "called"
    return "missed" if found is None else str(abs(run.steps.index(found[1]) - place))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family")
    parser.add_argument("--root", default="checkpoints")
    parser.add_argument("--programs", nargs="+", default=sorted(PROGRAMS), choices=sorted(PROGRAMS))
    parser.add_argument("--every", type=int, default=1, help="take every n-th checkpoint")
    parser.add_argument("--prompts", type=int, default=48)
    args = parser.parse_args()
    torch.set_num_threads(1)
    refs = interp.family(args.family, root=args.root).checkpoints()
    runs = [list(run) for _, run in groupby(refs, key=lambda ref: (ref.size, ref.setting, ref.seed))]
    counted: dict[str, Counter[str]] = {kind: Counter() for kind in (*get_args(Kind), "null")}
    for i, program in enumerate(args.programs):
        for j, run in enumerate(runs):
            chosen = run[:: args.every]
            for kind in get_args(Kind):
                place = int(PLACES[(i + j) % len(PLACES)] * len(chosen))
                counted[kind][error(program, chosen, place, kind, i + j, args.prompts)] += 1
            counted["null"][error(program, chosen, None, "splice", i + j, args.prompts)] += 1
            print(
                f"{program:14s} {run[0].size} seed {run[0].seed}", {k: dict(c) for k, c in counted.items()}, flush=True
            )


if __name__ == "__main__":
    main()
