"""TFRecord, the file format under TensorBoard's event files: a length, its checksum, the data, their checksum (CRC-32C,
masked), as tensorflow/core/lib/io/record_writer.h has it."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from interp.errors import InputError

LARGEST = 1 << 20
"""Bytes of a record that is read: a choice far above any scalar's. Larger ones hold images, graphs or text, and are passed by."""

BATCH = 1 << 14
"""Records whose checksums are computed at a time."""


def _table() -> np.ndarray:
    entries = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        entries = np.where(entries & 1, (entries >> 1) ^ np.uint32(0x82F63B78), entries >> 1)
    return entries


_CRC = _table()
_ONE_BY_ONE = _CRC.tolist()


def masked_crc(records: list[bytes]) -> np.ndarray:
    """The masked CRC-32C of each record [record], uint32: those of one length byte by byte at once."""
    out = np.zeros(len(records), dtype=np.uint32)
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, record in enumerate(records):
        by_length[len(record)].append(place)
    for length, places in by_length.items():
        data = np.frombuffer(b"".join(records[place] for place in places), dtype=np.uint8).reshape(len(places), length)
        crc = np.full(len(places), 0xFFFFFFFF, dtype=np.uint32)
        for column in data.T:
            crc = _CRC[(crc ^ column) & 0xFF] ^ (crc >> 8)
        out[places] = ~crc
    return ((out >> 15) | (out << 17)) + np.uint32(0xA282EAD8)


def _masked_crc_of_length(head: bytes) -> int:
    """The same of one length: eight bytes cost less without arrays."""
    crc = 0xFFFFFFFF
    for byte in head:
        crc = _ONE_BY_ONE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def framed(records: list[bytes]) -> bytes:
    """The records as such a file holds them."""
    lengths = [struct.pack("<Q", len(record)) for record in records]
    parts = zip(lengths, masked_crc(lengths), records, masked_crc(records), strict=True)
    return b"".join(
        length + struct.pack("<I", check) + record + struct.pack("<I", own) for length, check, record, own in parts
    )


def read_records(path: Path) -> Iterator[tuple[int, bytes]]:
    """(byte at which it begins, record) of every whole record of at most `LARGEST` bytes, each checked.

    A last record that was cut short, as a run in progress leaves it, ends the file without a word.

    Raises:
        InputError: a checksum that does not hold.
    """
    batch: list[tuple[int, bytes, bytes, bytes]] = []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        while (found := _next(file, size)) is not None:
            batch.append(found)
            if len(batch) == BATCH:
                yield from _checked(path, batch)
                batch = []
    yield from _checked(path, batch)


def _next(file: BinaryIO, size: int) -> tuple[int, bytes, bytes, bytes] | None:
    """Where a record begins, its head, itself ("" where it is too large to hold scalars) and its checksum."""
    start = file.tell()
    head = file.read(12)
    if len(head) < 12:
        return None
    (length,) = struct.unpack("<Q", head[:8])
    if _masked_crc_of_length(head[:8]) != struct.unpack("<I", head[8:])[0]:
        raise InputError(f"{file.name} is no event file, or damaged: the length at byte {start} fails its checksum")
    if length > size - start - 16:
        return None
    if length > LARGEST:
        file.seek(length + 4, 1)
        return start, head, b"", b"\xd8\xea\x82\xa2"  # the checksum of nothing
    return start, head, file.read(length), file.read(4)


def _checked(path: Path, batch: list[tuple[int, bytes, bytes, bytes]]) -> Iterator[tuple[int, bytes]]:
    own = masked_crc([record for _, _, record, _ in batch])
    told = np.frombuffer(b"".join(check for *_, check in batch), dtype="<u4")
    wrong = np.flatnonzero(own != told)
    if len(wrong):
        raise InputError(f"{path} is damaged: the record at byte {batch[wrong[0]][0]} fails its checksum")
    yield from ((start, record) for start, _, record, _ in batch)
