"""The command line: what can be typed. What each command does is in `runs` and `commands`.

Exit codes: 0 done, 1 finished with failed units or damaged files (each named) or stopped by the system (a full disk, a
file that may not be read), 2 wrong input, 130 stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from interp import __version__
from interp.errors import Damaged, InputError, nearest

EPILOG = (
    "Addresses of checkpoints: family:size[/setting][/seedK]@stepN; a part may be left out where there is one choice."
)


TABLE = "run directory, CSV, Parquet, a folder of evaluation logs, or what TensorBoard, W&B, trackio or a Trainer wrote"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see `{self.prog} --help`)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        parser, names = _parser()
        _check_command(arguments, names)
        args = parser.parse_args(arguments)
        if not getattr(args, "command", None):
            parser.print_help()
            return 0
        if (
            args.command != "circuit"
        ):  # these work in processes, one thread each; threads of their own would only collide
            os.environ.setdefault("OMP_NUM_THREADS", "1")
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        return _command(args.command)(args)
    except InputError as error:
        print(f"interp: {error}", file=sys.stderr)
        return 1 if isinstance(error, Damaged) else 2
    except BrokenPipeError:  # the reader (head, less) has seen enough
        sys.stderr.close()
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"interp: {where}{error.strerror or error}; what is done is kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterp: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _as_interrupt(*_: object) -> NoReturn:
    """SIGTERM, as schedulers send it, ends a command like Ctrl-C."""
    raise KeyboardInterrupt


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"interp: {message}", file=sys.stderr)


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    from interp.cli import commands, completion, runs, starting

    return next(
        getattr(room, f"do_{name}") for room in (commands, runs, starting, completion) if hasattr(room, f"do_{name}")
    )


def _check_command(arguments: Sequence[str], names: Sequence[str]) -> None:
    first = next((a for a in arguments if not a.startswith("-")), None)
    if first is not None and arguments[0] == first and first not in names:
        raise InputError(f"unknown command {first!r}{nearest(first, names)}")


def _parser() -> tuple[_Parser, list[str]]:
    parser = _Parser(
        prog="interp",
        description="When does a capability appear, which circuit carries it, and what could have warned us?",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"interp {__version__}")
    sub = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    run = sub.add_parser("run", help="grow, measure and report a whole experiment")
    run.add_argument("experiment", help="experiment.yaml")
    run.add_argument("--out", help="run directory (default runs/<name>)")
    run.add_argument("--root", help="where checkpoints are (default ./checkpoints)")
    run.add_argument("--workers", type=int, help="processes, one torch thread each (default: one a core)")
    run.add_argument("--device", help="overrides the experiment's device")
    run.add_argument(
        "--shard", default="0/1", help="i/n: measure only each n-th checkpoint from the i-th on (job arrays)"
    )
    run.add_argument("--dask", metavar="ADDRESS", help="measure on the Dask cluster with this scheduler")
    run.add_argument("--disk-budget", type=float, metavar="GB", help="room for checkpoints fetched from a hub")
    run.add_argument("--no-report", action="store_true", help="leave the report for `interp report`")
    run.add_argument("--profile", action="store_true", help="print where the processor time goes (profile.json)")

    status = sub.add_parser("status", help="what a run has measured, what is missing, what failed")
    status.add_argument("run", help="run directory")

    report = sub.add_parser("report", help="write the HTML page of a run or of a table from elsewhere")
    report.add_argument("table", help=TABLE)
    report.add_argument("--out", help="the page (default: report.html in the run directory)")

    export = sub.add_parser("export", help="the table of a run as CSV or Parquet")
    export.add_argument("table", help=TABLE)
    group = export.add_mutually_exclusive_group()
    group.add_argument("--csv", metavar="FILE", help="write CSV (default: to standard output)")
    group.add_argument("--parquet", metavar="FILE", help="write Parquet")
    group.add_argument("--card", metavar="FOLDER", help="write a data set with its card, as a hub takes it")
    group.add_argument("--to", metavar="TRACKER", help="tensorboard:FOLDER, wandb:PROJECT or trackio:PROJECT")
    export.add_argument("--licence", help="of the data set, as the hub names it (mit, cc-by-4.0)")

    verify = sub.add_parser(
        "verify", help="check every stored file, or a device or precision against float32 on the CPU"
    )
    verify.add_argument(
        "target", help="family, address or run directory; with --device or --dtype an address or folder"
    )
    verify.add_argument("--device", help="compare forward, capture and a patch on this device with the CPU")
    verify.add_argument("--dtype", help="the same in this precision: float32, float16, bfloat16")
    verify.add_argument("--root", help="where checkpoints are (default ./checkpoints)")

    listing = sub.add_parser("list", help="families, checkpoints, tasks, measures, circuit methods")
    listing.add_argument("what", choices=["families", "checkpoints", "tasks", "measures", "methods"])
    listing.add_argument("family", nargs="?", help="for checkpoints: the family")
    listing.add_argument("--size")
    listing.add_argument("--setting")
    listing.add_argument("--seed", type=int)
    listing.add_argument("--root", help="where checkpoints are (default ./checkpoints)")

    plan = sub.add_parser("plan", help="what an experiment would need, before anything runs")
    plan.add_argument("experiment", help="experiment.yaml")
    plan.add_argument("--gpu", help="also plan the time on this GPU (t4, v100, l4, a100, h100, h200)")
    plan.add_argument("--root", help="where checkpoints are (default ./checkpoints)")

    train = sub.add_parser("train", help="grow the family that a recipe describes")
    train.add_argument("recipe", help="recipe.yaml")
    train.add_argument("--root", help="where checkpoints go (default ./checkpoints)")
    train.add_argument("--workers", type=int, help="processes, one torch thread each (default: one a core)")

    jumps = sub.add_parser("jumps", help="the jumps in the curves of a table")
    jumps.add_argument("table", help=TABLE)
    jumps.add_argument("--measure", action="append", help="only this measure (may be repeated)")
    jumps.add_argument("--over", choices=["step", "size"], default="step", help="what grows along the curve")
    jumps.add_argument(
        "--detector", default="sigmoid_fit", help="a file of interp/jumps/detectors/, or package.module:function"
    )
    jumps.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    jumps.add_argument("--min-magnitude", type=float, help="smallest change that counts, as a share of the range")

    prevalence = sub.add_parser("prevalence", help="how often curves jump, for which tasks, and what goes with it")
    prevalence.add_argument("table", help=TABLE)
    prevalence.add_argument("--by", metavar="COLUMN", help="shares by this column of the table too")
    prevalence.add_argument("--measure", action="append", help="only this measure (may be repeated)")

    leads = sub.add_parser("leads", help="which indicators moved first, and whether that would have warned us")
    leads.add_argument("table", help=TABLE)
    leads.add_argument("--target", help="the behaviour (default exact_match, else accuracy)")
    leads.add_argument("--direction", choices=["up", "down"], help="whither the target improves (default: by its name)")
    leads.add_argument("--spec", help="analysis spec (YAML), hashed into the result")
    leads.add_argument("--forecast", metavar="RUN", help="forecast this run from the others")

    circuit = sub.add_parser("circuit", help="locate the circuit behind a task in a model")
    circuit.add_argument("model", help="address or folder of a checkpoint")
    circuit.add_argument("task", help="task, with parameters as name:key=value,key=value")
    circuit.add_argument("--method", default="eap-ig")
    circuit.add_argument("--metric", default="logit_diff")
    circuit.add_argument("--n-prompts", type=int, default=64)
    circuit.add_argument("--seed", type=int, default=0)
    circuit.add_argument("--root", help="where checkpoints are (default ./checkpoints)")
    circuit.add_argument("--out", help="write the circuit as JSON here")

    init = sub.add_parser("init", help="write a commented experiment and recipe for a task")
    init.add_argument("task", help="task, with parameters as name:key=value,key=value")
    init.add_argument("--name", help="of the study (default: the task's)")
    init.add_argument("--out", default=".", help="folder (default: this one)")

    doctor = sub.add_parser("doctor", help="what is installed, what a GPU would change, where things are kept")
    doctor.add_argument("--root", help="where checkpoints are (default ./checkpoints)")

    completion = sub.add_parser("completion", help="completion for your shell: source <(interp completion bash)")
    completion.add_argument("shell", choices=["bash", "zsh"])
    completion.set_defaults(parser=parser)

    for of_logs in (export, report, leads):
        of_logs.add_argument(
            "--behaviour",
            metavar="PATTERN",
            action="append",
            help="of a tracker's log: metrics that say what the model can do, as in 'eval/*' (may be repeated)",
        )
    for reading in (doctor, status, export, verify, listing, plan, jumps, prevalence, leads, circuit):
        reading.add_argument("--json", action="store_true", help="machine-readable output")
    return parser, list(sub.choices)
