"""TensorBoard's event files without TensorBoard: scalars out of the protocol buffers `Event`, `Summary` and `TensorProto`
(tensorboard/compat/proto), and into them."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from interp.errors import InputError
from interp.exchange.records import framed, read_records

MARK = ".tfevents."
"""What TensorBoard knows an event file by."""

_NUMBERS = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}
"""TensorProto's dtype -> NumPy's, of the numbers that scalars are logged in."""
_TYPED = {5: "<f4", 6: "<f8"}
"""TensorProto's packed fields float_val and double_val."""


class Scalar(NamedTuple):
    """One value of one tag; `time` in seconds since 1970."""

    tag: str
    step: int
    value: float
    time: float


def read_events(path: Path) -> Iterator[Scalar]:
    """The scalars of an event file in the order in which they were written: `simple_value`, and tensors without dimensions
    whose tag belongs to the plugin "scalars" (or to none).

    Raises:
        InputError: a file that is damaged, or whose records are no events.
    """
    plugins: dict[str, str] = {}
    for start, record in read_records(path):
        try:
            yield from _scalars(record, plugins)
        except (ValueError, struct.error, IndexError) as error:
            raise InputError(f"{path}: the record at byte {start} is no event of TensorBoard ({error})") from error


def write_events(path: Path, scalars: Iterable[Scalar]) -> None:
    """An event file that TensorBoard reads."""
    version = _time(time.time()) + _bytes(3, b"brain.Event:2")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(framed([version, *map(_event, scalars)]))


def _scalars(event: bytes, plugins: dict[str, str]) -> Iterator[Scalar]:
    at, step, summaries = 0.0, 0, []
    for number, value in _fields(event):
        if number == 1:
            (at,) = struct.unpack("<d", value)
        elif number == 2:
            step = value - (1 << 64) if value >> 63 else value
        elif number == 5:
            summaries.append(value)
    for summary in summaries:
        for number, entry in _fields(summary):
            if number == 1:
                tag, found = _entry(entry, plugins)
                if found is not None:
                    yield Scalar(tag, step, found, at)


def _entry(entry: bytes, plugins: dict[str, str]) -> tuple[str, float | None]:
    """A tag and its scalar; None where it holds something else. The plugin is told with a tag's first value only."""
    tag, simple, tensor = "", None, None
    for number, value in _fields(entry):
        if number == 1:
            tag = value.decode("utf-8")
        elif number == 2:
            (simple,) = struct.unpack("<f", value)
        elif number == 8:
            tensor = value
        elif number == 9:
            name = _inside(value, 1, 1)
            if name:
                plugins.setdefault(tag, name.decode("utf-8"))
    if plugins.get(tag, "scalars") != "scalars":
        return tag, None
    return tag, simple if tensor is None else _number(tensor)


def _number(tensor: bytes) -> float | None:
    """The number of a tensor without dimensions."""
    fields = dict(_fields(tensor))
    kind = _NUMBERS.get(fields.get(1, 0))
    if kind is None or b"\x12" in fields.get(2, b"")[:1]:
        return None
    if 4 in fields:
        values = np.frombuffer(fields[4], dtype=kind)
        return float(values[0]) if len(values) == 1 else None
    for number, dtype in _TYPED.items():
        if number in fields and len(fields[number]) == np.dtype(dtype).itemsize:
            return float(np.frombuffer(fields[number], dtype=dtype)[0])
    return None


def _inside(message: bytes, *path: int) -> bytes | None:
    """The field that a path of numbers leads to."""
    for number in path:
        found = dict(_fields(message)).get(number)
        if not isinstance(found, bytes):
            return None
        message = found
    return message


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a protocol buffer: whole numbers as such, everything else as bytes."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        else:
            length = {1: 8, 5: 4}.get(kind, -1)
        if not 0 <= length <= end - at:
            raise ValueError(f"field {number} of wire type {kind} is cut short")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _event(scalar: Scalar) -> bytes:
    value = _bytes(1, scalar.tag.encode()) + b"\x15" + struct.pack("<f", scalar.value)
    return _time(scalar.time) + b"\x10" + _whole(scalar.step) + _bytes(5, _bytes(1, value))


def _time(seconds: float) -> bytes:
    return b"\x09" + struct.pack("<d", seconds)


def _bytes(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _whole(len(data)) + data


def _whole(number: int) -> bytes:
    out = b""
    number &= (1 << 64) - 1
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])
