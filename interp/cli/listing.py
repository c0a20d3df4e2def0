"""What there is to choose from, and what each thing needs and costs: read from the files' text, of which none is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interp import plugins
from interp.figures.text import in_columns

KINDS = {"tasks": "tasks", "measures": "indicators", "methods": "circuits"}


PASSLESS = {"weights", "previous", "window", "initial", "final", "circuit", "reference"}
"""Needs that no pass is run for: `interp.measure.needs` has them, and imports torch."""

WIDEST = 48
"""Characters of a cell on a terminal (JSON has all): a choice, so that what a thing is about is on the same screen."""


def listing(kind: str) -> list[dict[str, Any]]:
    """A mapping a plug-in: name and about; of a task its `params`, of a measure what it `needs`, its `unit`, `dims`,
    whether it is `online` and the class of its `cost` (`interp.measure.needs`), of a circuit method its `params` and its
    `cost` in forward passes as its file computes it."""
    found = []
    for name in plugins.names(kind):
        source = Path(__file__).parents[1].joinpath(kind, f"{name}.py").read_text(encoding="utf-8")
        tree = ast.parse(source)
        found.append({"name": name, "about": _first_sentence(tree), **_FACTS[kind](tree, name)})
    return found


def rows(what: str, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The list as lines of a table."""
    if what == "families":
        return in_columns([["family", "about"], *([each["name"], each["about"]] for each in found)])
    columns = {"tasks": ("params",), "measures": ("needs", "unit", "online", "cost"), "methods": ("cost",)}[what]
    titles = {"params": "parameters", "cost": "forward passes", "online": "known at once"}
    if what == "measures":
        titles["cost"] = "passes"
    lines = [["name", *(titles.get(column, column) for column in columns), "about"]]
    for each in found:
        cells = (_short(_cell(each[column])) for column in columns)
        lines.append([each["name"], *cells, each["about"]])
    return in_columns(lines)


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={shown}" for key, shown in value.items()) or "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "-")


def _first_sentence(tree: ast.Module) -> str:
    """What a file says of itself."""
    doc = ast.get_docstring(tree) or ""
    return re.split(r"(?<!et al)\. ", " ".join(doc.partition("\n\n")[0].split()))[0].rstrip(".")


def _function(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    return next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name), None)


def _params(tree: ast.Module, name: str) -> dict[str, str]:
    """Parameter -> its default as it is written, "needed" without."""
    made = _function(tree, name)
    if made is None:
        return {}
    plain = [*made.args.posonlyargs, *made.args.args]
    defaults = [None] * (len(plain) - len(made.args.defaults)) + list(made.args.defaults)
    pairs = [*zip(plain, defaults, strict=True), *zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True)]
    return {arg.arg: "needed" if default is None else ast.unparse(default) for arg, default in pairs}


def _task(tree: ast.Module, name: str) -> dict[str, Any]:
    return {"params": _params(tree, name)}


def _measure(tree: ast.Module, name: str) -> dict[str, Any]:
    values: dict[str, ast.expr] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        value = node.value
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                values |= {ast.unparse(name): part for name, part in zip(target.elts, value.elts, strict=True)}
            else:
                values[ast.unparse(target)] = value
    needs = values.get("NEEDS")
    keys = [ast.unparse(key).strip("'") for key in needs.keys if key] if isinstance(needs, ast.Dict) else []
    told = keys or ([ast.unparse(needs)] if needs is not None and not isinstance(needs, ast.Dict) else [])
    plain = {key.lower(): _literal(values.get(key)) for key in ("UNIT", "DIMS", "ONLINE")}
    params = {key: value for key, value in _params(tree, name).items() if key != "obs"}
    return {
        "needs": told,
        "unit": plain["unit"],
        "dims": list(plain["dims"] or ()),
        "online": plain["online"],
        "cost": _literal(values.get("COST")) or _cost(told),
        "params": params,
    }


def _cost(needs: Sequence[str]) -> str:
    """The class of the cost of what the shared passes must keep, where no pass is run beside them."""
    if any(".grad" in need for need in needs):
        return "backward"
    return "weights" if PASSLESS.issuperset(needs) else "forward"


def _literal(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)  # type: ignore[arg-type]


def _method(tree: ast.Module, name: str) -> dict[str, Any]:
    """The cost is the expression that the file gives as `passes`."""
    cost, given = "", {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            given[node.targets[0].id] = ast.unparse(node.value)
        if isinstance(node, ast.keyword) and node.arg == "passes":
            cost = ast.unparse(node.value)
    cost = given.get(cost, cost)
    return {
        "cost": _WORDS.get(name, cost.replace("pair.graph.", "").replace("graph.", "")),
        "params": _params(tree, name),
    }


_WORDS = {
    "patching": "about one a head and MLP",
    "acdc": "one an edge tried",
    "exact": "2 + one an edge",
}
"""Of methods that count as they go."""

_FACTS = {"tasks": _task, "indicators": _measure, "circuits": _method}
