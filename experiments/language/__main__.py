"""The language models' commands: `python -m experiments.language measure|report`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from interp.errors import InputError


def main(words: list[str] | None = None) -> int:
    """0 done, 1 something could not be measured, 2 wrong input."""
    parser = argparse.ArgumentParser(prog="python -m experiments.language", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="grow what is missing, measure it, and write table.parquet")
    measure.add_argument("--out", type=Path, default=Path("runs/language"))
    measure.add_argument("--root", type=Path, default=None, help="where checkpoints are (default: checkpoints)")
    measure.add_argument("--workers", type=int, default=2)
    commands.add_parser("report", help="results.json, the figures and report.md from the table, without weights")
    given = parser.parse_args(words)
    try:
        if given.command == "measure":
            from experiments.language.measuring import measure as measured

            failed = measured(given.out, root=given.root, workers=given.workers)
            print(
                f"{failed} checkpoints could not be measured"
                if failed
                else "experiments/language/table.parquet is written"
            )
            return int(failed > 0)
        from experiments.language.report import write

        write()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
