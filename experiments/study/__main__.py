"""The study's commands: `python -m experiments.study measure|lock|evaluate|report|score`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from interp.errors import InputError


def main(words: list[str] | None = None) -> int:
    """0 done, 2 wrong input."""
    parser = argparse.ArgumentParser(prog="python -m experiments.study", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="grow and measure what has no rows yet")
    measure.add_argument("families", nargs="*", metavar="FAMILY", help="all by default")
    measure.add_argument("--part", choices=["explore", "held out", "causes"], default="explore")
    measure.add_argument("--seeds", type=int, nargs="*", help="only these of the part")
    measure.add_argument("--out", type=Path, default=Path("runs/study"))
    measure.add_argument("--root", type=Path, default=None, help="where checkpoints are (default: checkpoints)")
    measure.add_argument("--workers", type=int, default=2)
    lock = commands.add_parser("lock", help="lock the analysis, before the held-out rows are measured")
    lock.add_argument("--why", default="", help="a sentence beside the hash")
    for name, about in (
        ("evaluate", "judge the committed table: results/*.json"),
        ("report", "evaluate, and from that the figures and report.md"),
    ):
        command = commands.add_parser(name, help=about)
        command.add_argument("--pythia", type=Path, help="a folder of evaluation logs whose prevalence is counted too")
    command.add_argument("--written", action="store_true", help="from the results that are there, without evaluating")
    command = commands.add_parser("score", help="judge another indicator on the study's runs, grown again where needed")
    command.add_argument("indicator", help="a name, or package.module:function")
    command.add_argument("families", nargs="*", metavar="FAMILY", help="as study_induction; all by default")
    command.add_argument("--part", choices=("explore", "held out"), default="held out")
    command.add_argument("--root", type=Path, default=None, help="where checkpoints are (default: checkpoints)")
    command.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(words)
    try:
        {"measure": _measure, "lock": _lock, "evaluate": _evaluate, "report": _report, "score": _score}[given.command](
            given
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _measure(given: argparse.Namespace) -> None:
    from experiments.study import measuring
    from experiments.study.lock import in_force

    lock = "" if given.part == "explore" else in_force()
    families = measuring.CAUSES if given.part == "causes" else measuring.FAMILIES
    for family in given.families or families:
        n = measuring.measure(
            family,
            given.part,
            lock=lock,
            out=given.out,
            only=given.seeds or None,
            root=given.root,
            workers=given.workers,
        )
        print(f"{family}, {given.part}: {n} rows added", flush=True)


def _lock(given: argparse.Namespace) -> None:
    from experiments.study.lock import lock

    print(lock(given.why))


def _evaluate(given: argparse.Namespace) -> None:
    from experiments.study.evaluate import evaluate

    evaluate(pythia=given.pythia)


def _score(given: argparse.Namespace) -> None:
    from experiments.study.scoring import score

    found = score(given.indicator, families=given.families, part=given.part, root=given.root, workers=given.workers)
    print(found.to_string(index=False))


def _report(given: argparse.Namespace) -> None:
    from experiments.study.evaluate import evaluate, read_results
    from experiments.study.report import report

    print(report(read_results() if given.written else evaluate(pythia=given.pythia)))


if __name__ == "__main__":
    raise SystemExit(main())
