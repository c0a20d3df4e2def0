"""`python -m experiments.study measure [--part explore] [FAMILY …]`: the study's commands."""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.study import measuring


def main() -> None:
    """Measures families, part by part."""
    parser = argparse.ArgumentParser(prog="python -m experiments.study", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure", help="grow and measure what has no rows yet")
    one.add_argument("families", nargs="*", metavar="FAMILY", help="all by default")
    one.add_argument("--part", choices=list(measuring.PARTS), default="explore")
    one.add_argument("--seeds", type=int, nargs="*", help="only these of the part")
    one.add_argument("--out", type=Path, default=Path("runs/study"))
    one.add_argument("--root", type=Path, default=None, help="where checkpoints are (default: checkpoints)")
    one.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    for family in given.families or measuring.FAMILIES:
        n = measuring.measure(
            family,
            given.part,
            lock="",
            out=given.out,
            only=given.seeds or None,
            root=given.root,
            workers=given.workers,
        )
        print(f"{family}, {given.part}: {n} rows added", flush=True)


if __name__ == "__main__":
    main()
