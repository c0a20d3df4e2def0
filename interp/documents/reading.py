"""YAML and JSON as people write them, read within bounds: a file from anywhere is answered in a moment.

YAML is read as version 1.2's core schema has it: `2e-3` and `010` are numbers, `yes`, `1:30` and `2024-01-01` are text. A
key given twice is an error, and only plain data comes out: text, numbers, booleans, null, lists and mappings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from interp.errors import InputError, nearest

MAX_BYTES = 1 << 20
"""Of a file. A choice: 500 times the largest that is shipped."""

MAX_NODES = 50_000
"""Values, keys, lists and mappings, aliases written out. A choice: read in seconds, and no card that is known has 2,000."""

MAX_DEPTH = 40
"""Of lists and mappings in each other. A choice: the deepest that is shipped has 4."""

_EVENTS: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same events from libyaml, where it is there


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema, and without silent repeats of a key."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # as the base class has it


def _build(value: Callable[[str], Any]) -> Callable[[yaml.SafeLoader, yaml.ScalarNode], Any]:
    return lambda loader, node: value(str(loader.construct_scalar(node)))


def _scalar(kind: str, form: str, first: str, value: Callable[[str], Any]) -> None:
    tag = f"tag:yaml.org,2002:{kind}"
    _Loader.add_implicit_resolver(tag, re.compile(rf"(?:{form})\Z"), list(first))
    _Loader.add_constructor(tag, _build(value))


_NAMED_FLOAT = {"inf": "inf", "+inf": "inf", "-inf": "-inf", "nan": "nan"}
_SIGNED = "-+0123456789"
_scalar("null", "~|null|Null|NULL|", "~nN", lambda text: None)
_Loader.yaml_implicit_resolvers[""] = [("tag:yaml.org,2002:null", re.compile(r"\Z"))]
_scalar("bool", "true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text.lower() == "true")
_scalar(
    "int", r"[-+]?\d+|0o[0-7]+|0x[0-9a-fA-F]+", _SIGNED, lambda text: int(text, 0 if text[:2] in ("0o", "0x") else 10)
)
_scalar(
    "float",
    r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    _SIGNED + ".",
    lambda text: float(_NAMED_FLOAT.get(text.lower().replace(".", "", 1), text)),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), ["<"])


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    _without_repeats([(loader.construct_object(key, deep=True), None) for key in own])
    loader.flatten_mapping(node)  # what `<<` brings along comes first: a key given here takes its place
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True) for key, value in node.value
    }


def _without_repeats(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if isinstance(key, list | dict):
            raise InputError(f"the key {short(key)} is a list or a mapping; expected text")
        if key in found:
            raise InputError(f"the key {short(key)} is given twice")
        found[key] = value
    return found


def _refused(loader: _Loader, node: yaml.Node) -> Any:
    raise InputError(f"the tag {node.tag!r} is not read; expected plain data")


for _tag in ("timestamp", "binary", "omap", "pairs", "set"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _refused)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_document(path: str | Path, *, empty: bool = False) -> dict[str, Any]:
    """The mapping that a YAML file holds, or a file whose name ends in `.json`; with `empty`, of a file without any too.

    Raises:
        InputError: no such file, one that is too large or may not be read, neither YAML nor JSON, a key given twice, or
            not a mapping.
    """
    path = Path(path)
    text = _text(path)
    language, parse = ("JSON", _json) if path.suffix.lower() == ".json" else ("YAML", _yaml)
    try:
        found = parse(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid {language}: {' '.join(str(error).split())[:300]}") from None
    if found is None and empty:
        return {}
    if not isinstance(found, dict):
        kind = {type(None): "nothing", list: "a list"}.get(type(found), short(found))
        raise InputError(f"{path} holds {kind}; expected a mapping of keys to values")
    return found


def _text(path: Path) -> str:
    if not path.is_file():
        near = [p.name for p in path.parent.glob(f"*{path.suffix}")] if path.suffix and path.parent.is_dir() else []
        raise InputError(f"no file {str(path)!r}{nearest(path.name, near)}")
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise InputError(f"{path} has {size} bytes; such a file has at most {MAX_BYTES}")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid UTF-8 text: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def _yaml(text: str) -> Any:
    _refuse_bombs(yaml.parse(text, Loader=_EVENTS))
    return _Loader(text).get_single_data()


def _refuse_bombs(events: Iterable[yaml.Event]) -> None:
    """Counts what the file unfolds to before any of it is built: an alias counts as all that it stands for."""
    total, open_at, sizes = 0, list[tuple[str | None, int]](), dict[str, int]()
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise InputError(f"the alias *{event.anchor} stands for nothing that ends before it")
            total += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_at.pop()
            sizes |= {anchor: total - before} if anchor else {}
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.CollectionStartEvent):
                open_at.append((event.anchor, total))
            elif event.anchor:
                sizes[event.anchor] = 1
            total += 1
        if total > MAX_NODES or len(open_at) > MAX_DEPTH:
            what = f"to more than {MAX_NODES} values" if total > MAX_NODES else f"deeper than {MAX_DEPTH} levels"
            raise InputError(f"it unfolds {what}; no such file is as large")


def _json(text: str) -> Any:
    found = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_no_constant)
    _refuse_deep(found)
    return found


def _no_constant(name: str) -> Any:
    raise InputError(f"{name} is no JSON")


def _refuse_deep(found: Any) -> None:
    level, depth, total = [found], 0, 0
    while level:
        depth, total = depth + 1, total + len(level)
        if total > MAX_NODES or depth > MAX_DEPTH + 1:
            raise InputError(f"it has more than {MAX_NODES} values or {MAX_DEPTH} levels; no such file is as large")
        inner = [x for x in level if isinstance(x, list | dict)]
        level = [value for x in inner for value in (x.values() if isinstance(x, dict) else x)]


def check_keys(found: Any, known: Iterable[str], *, where: str) -> Mapping[str, Any]:
    """`found` itself, a mapping with no key outside `known` (`where` names it in the error)."""
    if not isinstance(found, Mapping):
        raise InputError(f"{where} is {short(found)}; expected keys and values")
    known = tuple(known)
    for key in found:
        if key not in known:
            raise InputError(f"{where} has no key {short(key)}{nearest(key, known)}")
    return found


def short(value: Any, most: int = 80) -> str:
    """What a value looks like, for a message: its `repr`, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
