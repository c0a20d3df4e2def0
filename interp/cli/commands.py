"""What each command does: read, call the library, print. Every reading command prints JSON with --json."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.cli.printing import print_json, progress, table_of, waiting
from interp.errors import InputError

if TYPE_CHECKING:
    from interp.models import Model


def do_list(args: argparse.Namespace) -> int:
    """interp list WHAT"""
    from interp.cli.listing import KINDS, listing, rows

    if args.what == "checkpoints":
        return _list_checkpoints(args)
    if args.what == "families":
        from interp.families import overview

        found: list[dict[str, Any]] = overview(root=args.root)
    else:
        found = listing(KINDS[args.what])
    if args.json:
        print_json(found)
    else:
        print("\n".join(rows(args.what, found)))
    return 0


def _list_checkpoints(args: argparse.Namespace) -> int:
    from interp.families import family

    if not args.family:
        raise InputError("list checkpoints: name the family, as in `interp list checkpoints pythia --size 160m`")
    refs = family(args.family, root=args.root).checkpoints(size=args.size, setting=args.setting, seed=args.seed)
    if args.json:
        print_json(
            [{"address": ref.address, "step": ref.step, "tokens": ref.tokens, "sha256": ref.sha256} for ref in refs]
        )
    else:
        print("\n".join(ref.address for ref in refs))
    return 0


def do_plan(args: argparse.Namespace) -> int:
    """interp plan EXPERIMENT.yaml"""
    from interp.cli.planned import format_plan
    from interp.engine.checks import read_experiment
    from interp.engine.planning import plan

    experiment = read_experiment(args.experiment)
    with waiting("planning: each measure and circuit method runs once on a very small model"):
        found = plan(experiment, root=args.root, gpu=args.gpu)
    if args.json:
        print_json(found)
    else:
        print(format_plan(found))
    return 0


def do_train(args: argparse.Namespace) -> int:
    """interp train RECIPE.yaml"""
    from interp.training import train

    failed = train(args.recipe, root=args.root, workers=args.workers)
    return 1 if failed else 0


def do_jumps(args: argparse.Namespace) -> int:
    """interp jumps TABLE"""
    from interp.jumps import find_jumps, format_jumps, jumps_json

    options = {"measures": args.measure, "over": args.over, "detector": args.detector, "workers": args.workers}
    options["progress"] = progress("curves")
    if args.min_magnitude is not None:
        options["min_magnitude"] = args.min_magnitude
    jumps = find_jumps(table_of(args.table), **options)
    if args.json:
        print_json(jumps_json(jumps))
    else:
        print(format_jumps(jumps))
    return 0


def do_prevalence(args: argparse.Namespace) -> int:
    """interp prevalence TABLE"""
    from interp.prevalence import format_prevalence, prevalence

    table = table_of(args.table)
    with waiting("counting jumps"):
        found = prevalence(table, by=args.by, measures=args.measure)
    if args.json:
        print_json(found.to_json())
    else:
        print(format_prevalence(found))
    return 0


def do_leads(args: argparse.Namespace) -> int:
    """interp leads TABLE"""
    from interp.leads import forecast, format_board, format_forecast, rank_leads

    table = table_of(args.table, args.behaviour)
    if args.forecast:
        with waiting("forecasting"):
            told = forecast(table, args.forecast, target=args.target, direction=args.direction, spec=args.spec)
        if args.json:
            print_json(told)
        else:
            print(format_forecast(told))
        return 0
    with waiting("ranking indicators"):
        board = rank_leads(table, target=args.target, direction=args.direction, spec=args.spec)
    if args.json:
        print_json(board.to_json())
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
    name, params = task_argument(args.task)
    model = load_at(args.model, args.root)
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
        print_json(found)
    else:
        print(format_description(found))
    return 0


def load_at(model: str, root: str | None) -> Model:
    """The model in a folder, or at an address in the store `root`."""
    from interp.families import load, resolve

    return load(model if Path(model).is_dir() else resolve(model, root=root))


def task_argument(text: str) -> tuple[str, dict[str, Any]]:
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
