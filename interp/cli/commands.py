"""What each command does: read, call the library, print. Every reading command prints JSON with --json."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.errors import InputError

if TYPE_CHECKING:
    from interp.models import Model


def do_run(args: argparse.Namespace) -> int:
    """interp run EXPERIMENT.yaml"""
    from interp.engine.checks import check_device, read_experiment
    from interp.engine.sweep import run_experiment

    experiment = read_experiment(args.experiment)
    if args.device:
        experiment = replace(experiment, device=args.device)
    if args.disk_budget is not None:
        experiment = replace(experiment, disk_budget_gb=args.disk_budget)
    if not args.dask:
        check_device(experiment.device)
    out = Path(args.out or Path("runs") / experiment.name)
    executor = _dask(args.dask) if args.dask else None
    shard = _shard(args.shard)
    state = run_experiment(experiment, out, root=args.root, workers=args.workers, shard=shard, executor=executor)
    _print_status(state)
    if not args.no_report and state["results_done"] and (shard == (0, 1) or not state["missing"]):
        _write_report(out, None)
    return 1 if state["failures"] else 0


def do_status(args: argparse.Namespace) -> int:
    """interp status RUN"""
    from interp.table.store import status

    state = status(args.run)
    if args.json:
        _print_json(state)
    else:
        _print_status(state)
    return 1 if state["failures"] or state["damaged"] else 0


def do_report(args: argparse.Namespace) -> int:
    """interp report TABLE"""
    _write_report(Path(args.table), args.out)
    return _tell_damage(args.table)


def do_export(args: argparse.Namespace) -> int:
    """interp export TABLE"""
    from interp.table import read_table, write_csv

    table = read_table(args.table)
    if args.parquet:
        table.to_parquet(args.parquet, index=False)
    elif args.csv:
        write_csv(table, args.csv)
    elif args.json:
        print(table.to_json(orient="records"))
    else:
        sys.stdout.write(write_csv(table))
    return _tell_damage(args.table)


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
        from interp.engine.precision import verify_device

        found = verify_device(_load(args.target, args.root), args.device or "cpu", args.dtype or "float32")
        _show(found, args.json)
        return 0 if found["agrees"] else 1
    found = _verified(args.target, args.root)
    if args.json:
        _print_json(found)
    else:
        counted = f"{found['checkpoints']} checkpoints" if "checkpoints" in found else f"{found['files']} files"
        unsealed = (
            f", {len(found['unsealed'])} unsealed (the next `interp run` seals them)" if found["unsealed"] else ""
        )
        print(f"{args.target}: {counted}, {len(found['problems'])} problems{unsealed}")
        for problem in found["problems"]:
            print(f"  {problem}")
    return 1 if found["problems"] else 0


def _verified(target: str, root: str | None) -> dict[str, Any]:
    """What is wrong with a run directory, or with checkpoints."""
    from interp.families.verification import verify_target
    from interp.table import store

    path = Path(target)
    if any((path / name).exists() for name in ("plan.json", "shards")):
        return {"target": target, **store.verify(path)}
    return verify_target(target, root=root)


def do_list(args: argparse.Namespace) -> int:
    """interp list WHAT"""
    from interp import plugins

    if args.what == "checkpoints":
        return _list_checkpoints(args)
    if args.what == "families":
        from interp.families import overview

        found: list[dict[str, Any]] = overview(root=args.root)
    else:
        kind = {"tasks": "tasks", "measures": "indicators", "methods": "circuits"}[args.what]
        found = [{"name": name, "about": _first_sentence(kind, name)} for name in plugins.names(kind)]
    if args.json:
        _print_json(found)
        return 0
    width = max((len(entry["name"]) for entry in found), default=0)
    for entry in found:
        print(f"{entry['name']:{width}}  {entry['about']}")
    return 0


def _first_sentence(kind: str, name: str) -> str:
    """What a plug-in's file says of itself; the file is read, not run."""
    import ast

    source = Path(__file__).parents[1].joinpath(kind) / f"{name}.py"
    doc = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<!et al)\. ", " ".join(doc.partition("\n\n")[0].split()))[0].rstrip(".")


def _list_checkpoints(args: argparse.Namespace) -> int:
    from interp.engine.units import address
    from interp.families import family

    if not args.family:
        raise InputError("list checkpoints: name the family, as in `interp list checkpoints pythia --size 160m`")
    refs = family(args.family, root=args.root).checkpoints(size=args.size, setting=args.setting, seed=args.seed)
    if args.json:
        _print_json(
            [{"address": address(ref), "step": ref.step, "tokens": ref.tokens, "sha256": ref.sha256} for ref in refs]
        )
    else:
        print("\n".join(address(ref) for ref in refs))
    return 0


def do_plan(args: argparse.Namespace) -> int:
    """interp plan EXPERIMENT.yaml"""
    from interp.engine.checks import read_experiment
    from interp.engine.planning import plan

    _show(plan(read_experiment(args.experiment), root=args.root, gpu=args.gpu), args.json)
    return 0


def do_train(args: argparse.Namespace) -> int:
    """interp train RECIPE.yaml"""
    from interp.training import train

    failed = train(args.recipe, root=args.root, workers=args.workers)
    return 1 if failed else 0


def do_jumps(args: argparse.Namespace) -> int:
    """interp jumps TABLE"""
    from interp.jumps import find_jumps, format_jumps, jumps_json

    options = {"measures": args.measure, "over": args.over}
    if args.min_magnitude is not None:
        options["min_magnitude"] = args.min_magnitude
    jumps = find_jumps(args.table, **options)
    if args.json:
        _print_json(jumps_json(jumps))
    else:
        print(format_jumps(jumps))
    return 0


def do_prevalence(args: argparse.Namespace) -> int:
    """interp prevalence TABLE"""
    from interp.prevalence import format_prevalence, prevalence

    found = prevalence(args.table, by=args.by, measures=args.measure)
    if args.json:
        _print_json(found.to_json())
    else:
        print(format_prevalence(found))
    return 0


def do_leads(args: argparse.Namespace) -> int:
    """interp leads TABLE"""
    from interp.leads import forecast, format_board, format_forecast, rank_leads

    if args.forecast:
        told = forecast(args.table, args.forecast, target=args.target, direction=args.direction, spec=args.spec)
        if args.json:
            _print_json(told)
        else:
            print(format_forecast(told))
        return 0
    board = rank_leads(args.table, target=args.target, direction=args.direction, spec=args.spec)
    if args.json:
        _print_json(board.to_json())
    else:
        print(format_board(board))
    return 0


def do_circuit(args: argparse.Namespace) -> int:
    """interp circuit MODEL TASK"""
    from interp.circuits.describe import describe, format_description
    from interp.engine.config import TaskSpec
    from interp.engine.units import task_of
    from interp.tasks import fit_task, task

    if args.n_prompts < 1:
        raise InputError(f"--n-prompts is {args.n_prompts}; a circuit needs at least one")
    name, params = _task_argument(args.task)
    model = _load(args.model, args.root)
    skill, split_seed = (
        (task(name, **params), 0) if model.ref is None else task_of(TaskSpec(name=name, params=params), model.ref)
    )
    skill = fit_task(skill, model)
    found = describe(
        model,
        skill,
        split_seed=split_seed,
        method=args.method,
        metric=args.metric,
        n_prompts=args.n_prompts,
        seed=args.seed,
    )
    if args.out:
        Path(args.out).write_text(json.dumps(found["circuit"], indent=1) + "\n")
    if args.json:
        _print_json(found)
    else:
        print(format_description(found))
    return 0


def _load(model: str, root: str | None) -> Model:
    """The model in a folder, or at an address in the store `root`."""
    from interp.families import load, resolve

    return load(model if Path(model).is_dir() else resolve(model, root=root))


def _task_argument(text: str) -> tuple[str, dict[str, Any]]:
    """`name:key=value,key=value` -> the name (itself `package.module:function`, perhaps) and the parameters; values are
    YAML."""
    import yaml

    name, _, rest = text.rpartition(":") if "=" in text else (text, "", "")
    params = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"task {text!r}: {part!r} is not key=value")
        params[key] = yaml.safe_load(value)
    return name, params


def _write_report(table: Path, out: str | None) -> None:
    from interp.report import write_report

    print(f"report: {write_report(table, out)}")


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
    for failure in state["failures"]:
        what = " ".join(filter(None, [failure["task"], failure["measure"]]))
        print(f"  failed: {failure['unit']} {what}: {failure['error']}")
    for name in state["damaged"]:
        print(f"  damaged: {name} (`interp run` sets it aside and makes it again)")
    if state["unsealed"]:
        print(f"  unsealed: {len(state['unsealed'])} files of an older version (the next `interp run` seals them)")


def _show(found: Any, as_json: bool) -> None:
    """JSON, or a line for each entry."""
    if as_json:
        _print_json(found)
    elif isinstance(found, dict):
        for key, value in found.items():
            print(f"{key}: {value}")
    else:
        print("\n".join(map(str, found)))


def _print_json(found: Any) -> None:
    print(json.dumps(found, indent=1, default=str))
