"""A file as numbered rows: CSV or JSON lines, packed with gzip or not, a line at a time."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from decimal import Decimal
from typing import IO, Any, Literal

import msgspec
from msgspec import Struct

from securecart.catalog.model import Rejected

Format = Literal["csv", "jsonl"]
LINE_BYTES_MAX = 8 * 1024 * 1024
GZIP_MAGIC = b"\x1f\x8b"

_json = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


class Row(Struct, frozen=True):
    """A row of the file; `flaw` says why it cannot be used, though parts of it may be readable."""

    line: int
    cells: dict[str, Any]
    flaw: str = ""


class CutOff(Exception):
    """The file ends, or turns to noise, in the middle; the argument says how."""


def rows_of(file: IO[bytes], kind: Format | None) -> Iterator[Row | Rejected]:
    """Every row of the file, `CutOff` where it breaks off; the kind is guessed from its first byte when it is not given."""
    lines = _Lines(file)
    first = lines.peek()
    kind = kind or ("jsonl" if first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "csv")
    return _from_json(lines) if kind == "jsonl" else _from_csv(lines)


class _Lines:
    """The lines of a file as bytes, each at most so long."""

    def __init__(self, file: IO[bytes]) -> None:
        packed = file.read(2)
        self._file: IO[bytes] = _Joined(packed, file)  # type: ignore[assignment]
        if packed == GZIP_MAGIC:
            self._file = gzip.GzipFile(fileobj=self._file)  # type: ignore[assignment]
        self._first: bytes | None = None
        self.number = 0

    def peek(self) -> bytes:
        """The first line, which is still to come."""
        self._first = self._read().removeprefix(b"\xef\xbb\xbf")
        return self._first

    def __iter__(self) -> Iterator[bytes]:
        while line := self._next():
            self.number += 1
            yield line

    def _next(self) -> bytes:
        if self._first is not None:
            line, self._first = self._first, None
            return line
        return self._read()

    def _read(self) -> bytes:
        try:
            line = self._file.readline(LINE_BYTES_MAX)
            if len(line) == LINE_BYTES_MAX:
                while (rest := self._file.readline(LINE_BYTES_MAX)) and not rest.endswith(b"\n"):
                    pass
        except EOFError as error:
            raise CutOff("the gzip file ends in the middle") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise CutOff(f"the gzip file is damaged ({error})") from error
        return line


class _Joined:
    """A file whose first bytes were read already, so that one that cannot seek can be looked into."""

    def __init__(self, start: bytes, file: IO[bytes]) -> None:
        self._start = start
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes."""
        if not self._start:
            return self._file.read(size)
        start, self._start = (self._start, b"") if size < 0 else (self._start[:size], self._start[size:])
        return start if size >= 0 else start + self._file.read()

    def readline(self, size: int = -1) -> bytes:
        """The rest of the line, at most `size` bytes."""
        if not self._start:
            return self._file.readline(size)
        start, newline, rest = self._start.partition(b"\n")
        if newline:
            self._start = rest
            return start + newline
        self._start = b""
        return start + self._file.readline(size - len(start))


def _from_json(lines: _Lines) -> Iterator[Row | Rejected]:
    for line in lines:
        if not line.strip():
            continue
        if len(line) == LINE_BYTES_MAX:
            yield Rejected(lines.number, f"the line is longer than {LINE_BYTES_MAX:,} bytes")
            continue
        try:
            yield Row(lines.number, _json.decode(line))
        except UnicodeDecodeError as error:
            yield _damaged(lines.number, line, f"not UTF-8 at byte {error.start + 1}")
        except (msgspec.DecodeError, ValueError) as error:
            yield _damaged(lines.number, line, f"no JSON object: {error}")


def _damaged(line: int, raw: bytes, flaw: str) -> Row | Rejected:
    """What can still be read of a line that is not UTF-8, to know which product it spoils."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        flaw = f"not UTF-8 at byte {error.start + 1}"
    try:
        return Row(line, _json.decode(raw.decode(errors="replace")), flaw)
    except (msgspec.DecodeError, ValueError):
        return Rejected(line, flaw)


def _from_csv(lines: _Lines) -> Iterator[Row | Rejected]:
    reader = csv.reader((line.decode("utf-8", "surrogateescape") for line in lines), strict=True)
    header: list[str] | None = None
    while True:
        begins = lines.number + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Rejected(begins, f"no CSV: {error}")
            continue
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = [name.strip() for name in cells]
            if any(_not_utf8(name) for name in header):
                yield Rejected(begins, "the header is not UTF-8")
                return
            yield Row(begins, {"": header})
            continue
        flaw = "" if len(cells) == len(header) else f"{len(cells)} cells, and the header has {len(header)}"
        if any(_not_utf8(cell) for cell in cells):
            flaw = "not UTF-8"
        yield Row(begins, dict(zip(header, cells, strict=False)), flaw)


def _not_utf8(cell: str) -> bool:
    """Whether the cell holds a byte that was smuggled through because it is no UTF-8."""
    return not cell.isascii() and any("\udc80" <= sign <= "\udcff" for sign in cell)
