"""Where the log in a segment ends that was still being written when its stream broke: at its last whole record.

Nobody can be asked any more then, and the file is as long as ever, filled up with zeros. So the records are walked: each says
how long it is, each page which place it holds. Whatever has a successor is whole; the last one is judged by its checksum.
The layout is PostgreSQL's (xlogrecord.h, xlog_internal.h), the same in 16 to 18.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct

__all__ = ["Ending", "ending_of"]

PAGE_BYTES = 8192
PAGE = struct.Struct("<HHIQI")  # magic, flags, timeline, address, bytes left of a record that began before
SHORT, LONG = 24, 40
GOES_ON, HAS_LONG = 1, 2
RECORD = struct.Struct("<IIQBBxxI")  # length, transaction, record before, flags, kind, checksum
CHECKED_OF_HEADER = 20
ALIGNED = 8
TRANSACTIONS, COMMITS, OPERATION = 1, (0x00, 0x30), 0x70
# What may stand before a record's own data, with its length; then the data's mark: short or long.
BEFORE_DATA = {253: 3, 252: 5}
DATA = {255: 2, 254: 5}
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Ending(Struct, frozen=True):
    """How far the log reaches within its segment, and when the newest transaction in it committed, if one was found."""

    offset: int
    committed_at: datetime | None


def ending_of(content: bytes, start: int, known: int) -> Ending:
    """Where log ends in a segment's content, which begins at the place `start`; it reaches up to `known`, an offset, for sure."""
    ends, committed_at = known, None
    last: tuple[int, bytes] | None = None
    for after, record in _records(content, start, known):
        if last is not None:
            ends, committed_at = max(known, last[0]), _later(committed_at, last[1])
        last = after, record
    if last is not None and _is_whole(last[1]):
        ends, committed_at = max(known, last[0]), _later(committed_at, last[1])
    return Ending(ends, committed_at)


def _later(at: datetime | None, record: bytes) -> datetime | None:
    return max((time for time in (at, _commit_time(record)) if time is not None), default=None)


def _records(content: bytes, start: int, known: int) -> Iterator[tuple[int, bytes]]:
    """Every record from the page of `known` on: where it ends, and its bytes without pages' headers."""
    offset = _first_record(content, start, min(known, len(content) - 1))
    while offset is not None and offset < len(content):
        if offset % PAGE_BYTES == 0:
            header = _header_of(content, start, offset)
            if header is None:
                return
            offset += header
        (length,) = struct.unpack_from("<I", content, offset)
        if length < RECORD.size:
            return
        found = _gather(content, start, offset, length)
        if found is None:
            return
        after = -(-found[1] // ALIGNED) * ALIGNED
        yield min(after, len(content)), found[0]
        offset = after


def _first_record(content: bytes, start: int, known: int) -> int | None:
    """Where the first record begins in the page of `known`, or after it where one from before fills the page."""
    page = known - known % PAGE_BYTES
    while page < len(content):
        header = _header_of(content, start, page)
        if header is None:
            return None
        left = PAGE.unpack_from(content, page)[4] if PAGE.unpack_from(content, page)[1] & GOES_ON else 0
        if header + left < PAGE_BYTES:
            return page + header + -(-left // ALIGNED) * ALIGNED
        page += PAGE_BYTES
    return None


def _gather(content: bytes, start: int, offset: int, length: int) -> tuple[bytes, int] | None:
    """The bytes of a record and where it ends; None when a page of it is not there."""
    parts: list[bytes] = []
    while True:
        part = content[offset : min(offset + length, offset - offset % PAGE_BYTES + PAGE_BYTES)]
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
        if not length:
            return b"".join(parts), offset
        header = _header_of(content, start, offset) if offset < len(content) else None
        if header is None or PAGE.unpack_from(content, offset)[4] != length:
            return None
        offset += header


def _header_of(content: bytes, start: int, page: int) -> int | None:
    """The length of a page's header; None when the page was not written."""
    magic, flags, _, address, _ = PAGE.unpack_from(content, page)
    if not magic or address != start + page:
        return None
    return LONG if flags & HAS_LONG else SHORT


def _is_whole(record: bytes) -> bool:
    checksum = RECORD.unpack_from(record)[5]
    return _crc32c(record[RECORD.size :] + record[:CHECKED_OF_HEADER]) == int(checksum)


def _commit_time(record: bytes) -> datetime | None:
    """When the transaction committed whose commit this record is."""
    _, _, _, flags, kind, _ = RECORD.unpack_from(record)
    if kind != TRANSACTIONS or flags & OPERATION not in COMMITS:
        return None
    place = RECORD.size
    while place < len(record) and record[place] in BEFORE_DATA:
        place += BEFORE_DATA[record[place]]
    if place >= len(record) or record[place] not in DATA:
        return None
    (microseconds,) = struct.unpack_from("<q", record, place + DATA[record[place]])
    return EPOCH + timedelta(microseconds=microseconds)


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901 - bit by bit
        table.append(value)
    return tuple(table)


TABLE = _table()


def _crc32c(content: bytes) -> int:
    """PostgreSQL's checksum of log (Castagnoli); Python's own library has only the other one."""
    value = 0xFFFFFFFF
    for byte in content:
        value = value >> 8 ^ TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
