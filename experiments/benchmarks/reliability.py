"""Kills and damages: what a run survives, and what is told of it.

    python -m experiments.benchmarks.reliability [--damages 200] [--kills 20] [--dask 10] [--seed 0]

Damages (`_damages`) of every kind of file: named, healed or silent. Kills (`_kills`) through the command line, of the parent
alone, of a worker, of all processes and by SIGTERM, and of the workers of a Dask cluster: survived, tracebacks, orphans.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

from experiments.benchmarks._damages import damages
from experiments.benchmarks._kills import dask_kills, kills
from experiments.benchmarks._small_run import prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = {"damages": damages, "dask": dask_kills, "kills": kills}
    for name, default in (("damages", 200), ("kills", 20), ("dask", 10), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        wanted = prepare(work)
        found = {}
        for name, function in kinds.items():
            if asked[name]:
                found |= function(work, wanted, n=asked[name], rng=random.Random(asked["seed"]))
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
