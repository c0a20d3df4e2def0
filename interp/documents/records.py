"""Records that check themselves: frozen dataclasses whose every field is checked when one is made (by pydantic).

A field's type says what fits: `seed: Annotated[int, whole(0)]`. What does not fit is an InputError of one line that names
the key, as in `x.yaml: families[0].seeds[1] is 'a'; expected a whole number of at least 0`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic
from pydantic_core import CoreSchema, core_schema

from interp.documents.reading import short
from interp.errors import InputError, nearest, unknown

T = TypeVar("T")
MOST = 2**53
"""The largest whole number below which floats (a table's steps, JSON elsewhere) hold every one."""

MAX_NAME = 100
"""Characters of a name. A choice: folders have 255 bytes on common file systems, and temporary names add to it."""


@dataclasses.dataclass(frozen=True)
class Fits:
    """Beside a type: `phrase` says what is expected, `test` whether a value is that. Types are exact: true is no number."""

    phrase: str
    test: Callable[[Any], bool]
    names: tuple[Any, ...] = ()

    def wanted(self, value: Any) -> str:
        """The phrase, and the nearest of the names where there are names."""
        close = nearest(value, self.names) if self.names else ""
        return self.phrase + (close if "did you mean" in close else "")

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], CoreSchema]) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._checked, handler(source))

    def _checked(self, value: Any) -> Any:
        if not self.test(value):
            raise ValueError(self.wanted(value))
        return value


def whole(least: int = 0, most: int = MOST) -> Fits:
    """A whole number from `least` to `most`."""
    phrase = f"a whole number of at least {least} and at most {'2^53' if most == MOST else most}"
    return Fits(phrase, lambda value: is_whole(value) and least <= value <= most)


def is_whole(value: Any) -> bool:
    """An int, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(above: float = -math.inf, below: float = math.inf, *, with_ends: bool = False) -> Fits:
    """A finite number between two others, the ends included or not."""
    ends = [f"{word} {end:g}" for word, end in (("above", above), ("below", below)) if math.isfinite(end)]
    phrase = " ".join(["a number", *[" and ".join(ends)]]).strip()
    if len(ends) == 2:
        phrase = f"a number between {above:g} and {below:g}"
    if with_ends:
        phrase = f"a number of at least {above:g}" if below == math.inf else f"a number from {above:g} to {below:g}"

    def test(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return above <= value <= below if with_ends else above < value < below

    return Fits(phrase, test)


def text(most: int = 1000) -> Fits:
    """Text of one line that is not empty."""
    return Fits(
        f"text of one line, at most {most} characters",
        lambda value: isinstance(value, str) and 0 < len(value.strip()) <= most and value.isprintable(),
    )


def one_of(*names: Any) -> Fits:
    """One of a few values."""
    shown = [name if isinstance(name, str) else "null" if name is None else repr(name) for name in names]
    return Fits(
        " or ".join([", ".join(shown[:-1]), shown[-1]]).removeprefix(" or "),
        lambda value: any(value is name or (isinstance(value, str) and value == name) for name in names),
        names,
    )


def or_null(fit: Fits) -> Fits:
    """The same, or nothing."""
    return Fits(f"{fit.phrase}, or null", lambda value: value is None or fit.test(value))


def is_name(value: Any) -> bool:
    """What may be the name of a folder: letters, digits and `_ . + = -`, neither `.` nor `-` at its head, no `.` at its end."""
    return (
        isinstance(value, str) and len(value) <= MAX_NAME and re.fullmatch(r"[\w+=]([\w.+=-]*[\w+=-])?", value) is not None
    )  # fmt: skip


def _is_label(value: Any) -> bool:
    return is_name(value) and re.match(r"seed\d*\Z", value) is None


NAME = Fits("a name (letters, digits, '_', '.', '-', '+', '='; no path)", is_name)
LABEL = Fits("a name (letters, digits, '_', '.', '-', '+', '='; no path, no 'seed' with a number)", _is_label)
Name = Annotated[str, NAME]
Label = Annotated[str, LABEL]
"""Of a size or a setting: a part of an address, where `seed3` has a meaning of its own."""

Line = Annotated[str, text()]


def known_as(kind: str, names: Callable[[], Iterable[str]]) -> pydantic.AfterValidator:
    """Text that is one of the names, which are asked for when a record is made; the nearest is named where it is not."""

    def check(value: str) -> str:
        if value not in (choices := list(names())):
            raise unknown(kind, value, choices)
        return value

    return pydantic.AfterValidator(check)


def _distinct(values: Sequence[T]) -> Sequence[T]:
    twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
    if twice is not None:
        raise InputError(f"{short(twice)} is there twice")
    return values


Distinct = pydantic.AfterValidator(_distinct)
"""No value of the list is there twice: a run has one of each, and who writes one twice meant another."""


def plain(value: Any) -> Any:
    """The value itself, if it is plain data: text, booleans, null, finite numbers (whole ones up to 2^53), lists, mappings."""
    fault = _fault(value, "")
    if fault:
        raise InputError(fault)
    return value


def _fault(value: Any, at: str) -> str | None:
    """What is wrong with plain data, and where; None where nothing is."""
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str)), None)
        if wrong is not None:
            return f"{at or 'it'} has the key {short(wrong)}; expected text"
        return next(filter(None, (_fault(v, f"{at}.{k}".lstrip(".")) for k, v in value.items())), None)
    if isinstance(value, list | tuple):
        return next(filter(None, (_fault(v, f"{at}[{i}]") for i, v in enumerate(value))), None)
    if value is None or isinstance(value, str | bool):
        return None
    if is_whole(value):
        return None if abs(value) <= MOST else f"{at} is {short(value)}; whole numbers end at 2^53"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{at} is {value}; expected a finite number"
    return f"{at} is {short(value)}; expected text, a number, a boolean, null, a list or keys and values"


Plain = Annotated[Mapping[str, Any], pydantic.AfterValidator(plain)]
"""Keys and values of plain data, whatever they are: finite numbers, whole ones up to 2^53, text, lists and mappings."""

Fields = Annotated[Mapping[str, Any] | None, pydantic.AfterValidator(lambda value: plain(value or {}))]
"""The same, where nothing at all stands for no keys."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def record(kind: type[T]) -> type[T]:
    """A frozen dataclass that checks its fields, with InputError for what does not fit."""
    made: Any = pydantic.dataclasses.dataclass(
        kind, frozen=True, kw_only=True, config=pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    )
    build = made.__init__

    @functools.wraps(build)
    def checked(self: Any, **given: Any) -> None:
        try:
            build(self, **given)
        except pydantic.ValidationError as error:
            raise InputError(_message(error, kind, where=kind.__name__, at=())) from None

    made.__init__ = checked
    return made


def read_record(kind: type[T], data: Any, *, where: str, at: Sequence[str | int] = ()) -> T:
    """Plain data as a record.

    Args:
        where: names the file, for errors. at: where in it the data stand: ("families", 0).

    Raises:
        InputError: an unknown key (the nearest is named), a missing one, a value that does not fit.
    """
    if isinstance(data, kind):
        return data
    if not isinstance(data, Mapping):
        raise InputError(f"{_place(where, at)} is {short(data)}; expected keys and values")
    known = keys_of(kind)
    for key in data:
        if key not in known:
            raise InputError(f"{_place(where, at)} has no key {short(key)}{nearest(key, known)}")
    try:
        return pydantic.TypeAdapter(kind).validate_python(dict(data))
    except pydantic.ValidationError as error:
        raise InputError(_message(error, kind, where=where, at=at)) from None


def _place(where: str, at: Sequence[str | int]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".")
    return f"{where}: {path}" if path else where


_EXPECTED = {
    "too_short": "at least one entry",
    "tuple_type": "a list",
    "mapping_type": "keys and values",
    "dict_type": "keys and values",
    "dataclass_type": "keys and values",
}


def _message(error: pydantic.ValidationError, kind: type, *, where: str, at: Sequence[str | int]) -> str:
    """One line for the first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    path = [*at, *first["loc"]]
    if first["type"] == "unexpected_keyword_argument":
        known = _keys_at(kind, first["loc"][:-1])
        return f"{_place(where, path[:-1])} has no key {short(path[-1])}{nearest(path[-1], known)}"
    if first["type"] in ("missing", "missing_keyword_only_argument", "missing_argument"):
        return f"{_place(where, path[:-1])} lacks the key {path[-1]!r}"
    cause = first.get("ctx", {}).get("error")
    if path[-1:] == ["[key]"]:
        expected = str(cause) if cause is not None else "text"
        return f"{_place(where, path[:-2])} has the name {short(first['input'])}; expected {expected}"
    if isinstance(cause, InputError):
        return f"{_place(where, path)}: {cause}"
    expected = str(cause) if cause is not None else _EXPECTED.get(first["type"], _plainly(first["msg"]))
    return f"{_place(where, path)} is {short(first['input'])}; expected {expected}"


def _plainly(message: str) -> str:
    """pydantic's own words for the kinds of error that have none here."""
    return message.removeprefix("Input should be ").removeprefix("Value error, ")


def _keys_at(kind: Any, loc: Iterable[str | int]) -> list[str]:
    """The keys of the record that is at a place inside of `kind`."""
    for part in loc:
        kind = bare(kind)
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind, include_extras=True).get(str(part), Any)
        else:
            kind = next(iter(typing.get_args(kind)[-1 if isinstance(part, str) else 0 :]), Any)
    kind = bare(kind)
    return keys_of(kind) if dataclasses.is_dataclass(kind) else []


def keys_of(kind: Any) -> list[str]:
    """What a record's fields are called in a file: `from_` is the key `from`, which Python keeps for itself."""
    return [field.name.removesuffix("_") for field in dataclasses.fields(kind)]


def bare(kind: Any) -> Any:
    """A type without what stands beside it, and without `| None`."""
    while True:
        if typing.get_origin(kind) is Annotated:
            kind = typing.get_args(kind)[0]
        elif typing.get_origin(kind) in (typing.Union, types.UnionType):
            kind = next(part for part in typing.get_args(kind) if part is not type(None))
        else:
            return kind
