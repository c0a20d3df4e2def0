"""The commands that make, read and check run directories and tables."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from interp.cli.printing import print_json, show, source_of, waiting
from interp.errors import InputError
from interp.figures.text import in_columns

if TYPE_CHECKING:
    import pandas as pd


def do_run(args: argparse.Namespace) -> int:
    """interp run EXPERIMENT.yaml"""
    from interp.engine.profile import profiling
    from interp.files import write_json

    with profiling(args.profile) as profile:
        code, out = _run(args)
    if profile is not None:
        write_json(out / "profile.json", profile.to_json())
        print(profile)
    return code


def _run(args: argparse.Namespace) -> tuple[int, Path]:
    """The exit code, and the run directory."""
    from interp.engine.checks import read_experiment
    from interp.engine.sweep import run_experiment

    experiment = read_experiment(args.experiment)
    if args.device:
        experiment = replace(experiment, device=args.device)
    if args.disk_budget is not None:
        experiment = replace(experiment, disk_budget_gb=args.disk_budget)
    out = Path(args.out or Path("runs") / experiment.name)
    executor = _dask(args.dask) if args.dask else None
    shard = _shard(args.shard)
    state = run_experiment(experiment, out, root=args.root, workers=args.workers, shard=shard, executor=executor)
    _print_status(state)
    if not args.no_report and state["results_done"] and (shard == (0, 1) or not state["missing"]):
        _write_report(out, None)
    return int(bool(state["failures"])), out


def do_status(args: argparse.Namespace) -> int:
    """interp status RUN"""
    from interp.table.store import status

    state = status(args.run)
    if args.json:
        print_json(state)
    else:
        _print_status(state)
    return 1 if state["failures"] or state["damaged"] else 0


def do_report(args: argparse.Namespace) -> int:
    """interp report TABLE"""
    path, source = Path(args.table), source_of(args.table, args.behaviour)
    beside = path / "report.html" if path.is_dir() else path.with_suffix(".report.html")
    _write_report(source, args.out or (None if source is args.table else str(beside)))
    return _tell_damage(args.table)


def do_export(args: argparse.Namespace) -> int:
    """interp export TABLE"""
    from interp.exchange import write_dataset, write_logs
    from interp.table import export_csv, read_table, write_csv

    source = source_of(args.table, args.behaviour)
    if args.card:
        print(f"wrote {write_dataset(source, args.card, name=Path(args.table).resolve().stem, licence=args.licence)}")
        print(f"next: hf upload USER/NAME {args.card} --repo-type dataset")
    elif args.to:
        with waiting(f"writing to {args.to}"):
            print(f"wrote {write_logs(source, args.to)} values to {args.to}")
    elif args.parquet:
        table = read_table(source)
        with _new_file(Path(args.parquet), "wb") as file:
            table.to_parquet(file, index=False)
    elif args.json:
        print(read_table(source).to_json(orient="records"))
    else:
        with _new_file(Path(args.csv), "w") if args.csv else nullcontext(sys.stdout) as file:
            if isinstance(source, str):
                export_csv(source, file)
            else:
                file.write(write_csv(source))
    return _tell_damage(args.table)


@contextmanager
def _new_file(path: Path, mode: str) -> Iterator[IO[Any]]:
    """A file to be written, in its place once it is whole (a device or a pipe: at once)."""
    path = path.resolve()
    place = path.with_name(f".{path.name}.{os.getpid()}.tmp") if path.is_file() or not path.exists() else path
    try:
        with place.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
        if place != path:
            os.replace(place, path)
    except BaseException as error:
        if place != path:
            place.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names none
        raise


def _tell_damage(table: str) -> int:
    """Names the damaged files of a run directory beside those that the table is made of; the exit code."""
    from interp.table.store import integrity

    found = integrity(table)["damaged"] if (Path(table) / "shards").is_dir() else []
    for name in found:
        print(f"interp: {Path(table) / name} is damaged: `interp run` makes it again", file=sys.stderr)
    return 1 if found else 0


def do_verify(args: argparse.Namespace) -> int:
    """interp verify TARGET: exit code 1 where something does not hold."""
    if args.device or args.dtype:
        from interp.cli.commands import load_at
        from interp.engine.precision import verify_device

        found = verify_device(load_at(args.target, args.root), args.device or "cpu", args.dtype or "float32")
        show(found, args.json)
        return 0 if found["agrees"] else 1
    found = _verified(args.target, args.root)
    if args.json:
        print_json(found)
    else:
        counted = f"{found['checkpoints']} checkpoints" if "checkpoints" in found else f"{found['files']} files"
        unsealed = (
            f", {len(found['unsealed'])} unsealed (the next `interp run` seals them)" if found["unsealed"] else ""
        )
        print(f"{args.target}: {counted}, {len(found['problems'])} problems{unsealed}")
        for problem in found["problems"]:
            print(f"  {problem}")
        for hidden in found.get("unseen", []):
            print(f"  not seen: {hidden}")
    return 1 if found["problems"] else 0


def _verified(target: str, root: str | None) -> dict[str, Any]:
    """What is wrong with a run directory, or with checkpoints."""
    from interp.families.verification import verify_target
    from interp.table import store

    path = Path(target)
    if any((path / name).exists() for name in ("plan.json", "shards")):
        return {"target": target, **store.verify(path)}
    return verify_target(target, root=root)


def _write_report(table: str | Path | pd.DataFrame, out: str | None) -> None:
    from interp.engine.profile import stage
    from interp.report import write_report

    with stage("report"), waiting("writing the report (jumps, leads, page)"):
        page = write_report(table, out)
    print(f"report: {page}")


def _shard(text: str) -> tuple[int, int]:
    part, slash, whole = text.partition("/")
    if not (slash and part.isdigit() and whole.isdigit() and int(part) < int(whole)):
        raise InputError(f"--shard is {text!r}; expected i/n with i from 0 to n-1, as in 0/8")
    return int(part), int(whole)


def _dask(address: str) -> Any:
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise InputError('--dask needs the extra: pip install "interp[dask]"') from error
    return Client(address).get_executor()


def _print_status(state: dict[str, Any]) -> None:
    print(f"{state['run']}: {state['done']} of {state['units']} checkpoints measured", end="")
    print(f" ({state['results_done']} of {state['results']} results)")
    if state["missing"] or state["failures"]:
        print("\n".join(in_columns(_by_setting(state))))
    for failure in state["failures"]:
        what = " ".join(filter(None, [failure["task"], failure["measure"]]))
        print(f"  failed: {failure['unit']} {what}: {failure['error']}")
    for name in state["damaged"]:
        print(f"  damaged: {name} (`interp run` sets it aside and makes it again)")
    if state["unsealed"]:
        print(f"  unsealed: {len(state['unsealed'])} files of an older version (the next `interp run` seals them)")


def _by_setting(state: dict[str, Any]) -> list[list[str]]:
    """A row a family, size and setting: its checkpoints, of how many runs, how many are missing, and failures."""
    from interp.table.store import plan

    names = [unit for unit, _ in plan(Path(state["run"]))]
    failed = [failure["unit"] for failure in state["failures"]]
    rows = [["family:size/setting", "runs", "checkpoints", "measured", "missing", "failures"]]
    for setting in dict.fromkeys(map(_setting, names)):
        own = [name for name in names if _setting(name) == setting]
        missing, broken = (sum(_setting(name) == setting for name in given) for given in (state["missing"], failed))
        runs = len({name.partition("@")[0] for name in own})
        rows.append([setting, *map(str, (runs, len(own), len(own) - missing, missing, broken))])
    return rows


def _setting(unit: str) -> str:
    """The address of a checkpoint without its seed and step."""
    return re.sub(r"/seed\d+$", "", unit.partition("@")[0])
