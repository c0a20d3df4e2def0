"""The reference of what can be written in an experiment, a recipe, a card and an analysis spec, from the records
themselves: `python -m interp.cli.schema > docs/schema.md`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from interp.documents.records import Fits, bare, keys_of
from interp.engine.config import CircuitSpec, Experiment, FamilySpec, MeasureSpec, TaskSpec
from interp.families.card import Card
from interp.families.intervening import TrainingIntervention
from interp.families.recipe import Part, Recipe, Schedule, Setting, TaskOf
from interp.leads.spec import Spec

FILES: Mapping[str, tuple[type, ...]] = {
    "Experiment": (Experiment, FamilySpec, TaskSpec, MeasureSpec, CircuitSpec),
    "Recipe": (Recipe, TaskOf, Setting, Part, Schedule, TrainingIntervention),
    "Card": (Card,),
    "Analysis spec": (Spec,),
}
"""Each kind of file, and the records that one is made of."""

HEAD = """# What can be written

Made from the records that check these files, by `python -m interp.cli.schema > docs/schema.md`.

A file is YAML (1.2: `010` is ten, `yes` is text) or, where its name ends in `.json`, JSON: at most 1 MiB, plain data, no
key twice. What is wrong in one is told in a line that names the key, with exit code 2, before anything is trained, fetched
or written.
"""


def schema() -> str:
    """The page, as Markdown."""
    return "\n".join([HEAD, *(line for title, records in FILES.items() for line in _file(title, records))])


def _file(title: str, records: tuple[type, ...]) -> Iterator[str]:
    for level, record in enumerate(records):
        yield f"## {title}\n" if level == 0 else f"### {title}: {record.__name__}\n"
        yield " ".join(inspect.cleandoc(record.__doc__ or "").split()) + "\n"
        yield "| key | what | default | meaning |\n|---|---|---|---|"
        meanings = _meanings(record)
        hints = typing.get_type_hints(record, include_extras=True)
        for field, key in zip(dataclasses.fields(record), keys_of(record), strict=True):  # type: ignore[arg-type]
            cells = (f"`{key}`", _phrase(hints[field.name]), _default(field), meanings[field.name])
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        yield ""


def _phrase(kind: Any) -> str:
    """What a field's type asks for, in words."""
    if typing.get_origin(kind) is typing.Annotated:
        inside, *beside = typing.get_args(kind)
        fit = next((one.phrase for one in reversed(beside) if isinstance(one, Fits)), None)
        return fit or _phrase(inside)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(_phrase(part) for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is tuple:
        return f"a list: {_phrase(typing.get_args(kind)[0])}"
    if isinstance(typing.get_origin(kind), type) and issubclass(typing.get_origin(kind), Mapping):
        name, value = typing.get_args(kind)
        return "keys and values" if bare(value) is Any else f"keys, each {_phrase(name)}, to {_phrase(value)}"
    if dataclasses.is_dataclass(kind):
        return f"keys of {kind.__name__}"  # type: ignore[union-attr]
    return {str: "text", int: "a whole number", float: "a number"}.get(kind, "anything")


def _default(field: dataclasses.Field[Any]) -> str:
    """What stands where the key is left out."""
    value, make = field.default, field.default_factory
    if isinstance(value, FieldInfo):
        value, make = value.default, value.default_factory or dataclasses.MISSING  # type: ignore[assignment]
    if make is not dataclasses.MISSING:
        value = make()
    if value is dataclasses.MISSING:
        return "(needed)"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {key: own for key, own in dataclasses.asdict(value).items() if own is not None}
    if value is None or value in ("", {}, (), (Part(),)):
        return ""
    return "`" + (value if isinstance(value, str) else str(list(value) if isinstance(value, tuple) else value)) + "`"


def _meanings(record: type) -> dict[str, str]:
    """The text under each field, in the record's source."""
    declared = ast.parse(textwrap.dedent(inspect.getsource(record))).body[0]
    found = {}
    for field, said in itertools.pairwise(ast.iter_child_nodes(declared)):
        if isinstance(field, ast.AnnAssign) and isinstance(said, ast.Expr):
            found[ast.unparse(field.target)] = " ".join(ast.literal_eval(said.value).split())
    return found


if __name__ == "__main__":
    print(schema(), end="")
