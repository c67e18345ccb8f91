"""How content becomes an archived object and back: one zstd frame with a checksum, inside age where there is a key.

Memory stays bounded whatever the size. pyrage writes where zstandard reads, so between the two there is a pipe, and a thread
that writes into it.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from typing import IO, Any, cast

import pyrage
import zstandard
from pyrage.x25519 import Identity

from securecart.errors import ArchiveDamaged, ArchiveLocked, BadInput

__all__ = ["PUMP", "key_pair", "lock_of", "packed", "unpacked"]

LEVEL = 3
BUFFER_BYTES = 128 * 1024
# One byte of zstd can stand for 32 KiB of content, so no more than this is unpacked at a time; it costs no speed.
FED_BYTES = 1024
ENCRYPTED = b"age-encryption.org/v1\n"
PUMP = "archive-pump"
OTHER_KEY = "No matching keys found"


def key_pair() -> tuple[str, str]:
    """A new secret key, and its public half."""
    made = Identity.generate()
    return str(made), str(made.to_public())


def lock_of(key: str) -> Identity | None:
    """The key as the library knows it, None without one; `BadInput` when it is none."""
    key = key.strip()
    if not key:
        return None
    try:
        return Identity.from_str(key)
    except pyrage.IdentityError as error:
        why = "is a public key; the secret one is needed" if key.startswith("age1") else "is no secret key of age"
        problem = f"SECURECART_ARCHIVE_KEY {why}: it begins with AGE-SECRET-KEY-1. `securecart backup key` makes one."
        raise BadInput(field="archive_key", problem=problem) from error


def packed(content: IO[bytes], lock: Identity | None) -> IO[bytes]:
    """The content as an object of the archive, to be read to its end; closing it leaves the content open."""
    watched: Any = _Watched(content)
    compressing = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    frame = cast("IO[bytes]", compressing.stream_reader(watched, read_size=BUFFER_BYTES, closefd=False))
    if lock is None:
        return frame

    def encrypt(sink: IO[bytes]) -> None:
        try:
            pyrage.encrypt_io(frame, sink, [lock.to_public()])
        except Exception as error:
            raise watched.failure or error from error

    return _buffered(_Pumped(encrypt, frame))


def unpacked(kept: IO[bytes], lock: Identity | None, *, name: str, archive: str) -> IO[bytes]:
    """The content of an archived object, checked while it is read; `kept` is closed with it.

    A flip in the few lines by which age finds its key looks as another key does: `ArchiveLocked`.
    """
    head = kept.read(len(ENCRYPTED))
    source = _Watched(kept, head)
    stream: Any = source
    if head == ENCRYPTED:
        if lock is None:
            kept.close()
            raise ArchiveLocked(name=name, archive=archive)

        def decrypt(sink: IO[bytes]) -> None:
            try:
                pyrage.decrypt_io(source, sink, [lock])
            except Exception as error:
                if source.failure is not None:
                    raise source.failure from error
                if OTHER_KEY in str(error):
                    raise ArchiveLocked(name=name, archive=archive) from error
                raise ArchiveDamaged(name=name, archive=archive, why=f"it cannot be decrypted ({error})") from error

        stream = _Pumped(decrypt, source)
    return _buffered(_Inflated(stream, name=name, archive=archive))


class _Watched:
    """A stream that remembers how reading it failed: what reads it through other libraries would only say that it did."""

    def __init__(self, stream: IO[bytes], head: bytes = b"") -> None:
        self.failure: BaseException | None = None
        self._stream = stream
        self._head = head

    def read(self, size: int = -1) -> bytes:
        try:
            if self._head:
                given, self._head = self._head[:size], self._head[size:]
                return given
            return self._stream.read(size)
        except BaseException as error:
            self.failure = error
            raise

    def close(self) -> None:
        self._stream.close()


class _Pumped(io.RawIOBase):
    """What `work` writes, to be read: it writes into a pipe, from a thread of its own. `source` is closed at the end."""

    def __init__(self, work: Callable[[IO[bytes]], None], source: Any) -> None:
        reading, writing = os.pipe()
        self._reading = os.fdopen(reading, "rb", buffering=0)
        self._source = source
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._pump, args=(work, os.fdopen(writing, "wb")), name=PUMP, daemon=True)
        self._thread.start()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = self._reading.readinto(buffer) or 0
        if size == 0:
            self._thread.join()
            if self._failure is not None:
                raise self._failure
        return size

    def close(self) -> None:
        if not self.closed:
            self._reading.close()  # whoever writes on gets a broken pipe, and ends
            self._thread.join()
            self._source.close()
        super().close()

    def _pump(self, work: Callable[[IO[bytes]], None], sink: IO[bytes]) -> None:
        try:
            with sink:
                work(sink)
        except BaseException as error:  # noqa: BLE001  whatever it is, it is raised where the pipe is read
            self._failure = error


class _Inflated(io.RawIOBase):
    """What a zstd frame holds; that it ended, and nothing follows it, is checked, which zstandard's own reader does not."""

    def __init__(self, source: Any, *, name: str, archive: str) -> None:
        self._source = source
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._ready = memoryview(b"")
        self._facts = {"name": name, "archive": archive}

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            fed = self._source.read(FED_BYTES)
            if not fed:
                if not self._frame.eof:
                    raise ArchiveDamaged(**self._facts, why="its end is missing")
                return 0
            self._ready = memoryview(self._unpacked(fed))
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()

    def _unpacked(self, fed: bytes) -> bytes:
        try:
            if self._frame.eof:
                raise ArchiveDamaged(**self._facts, why="something follows its end")
            content = self._frame.decompress(fed)
        except zstandard.ZstdError as error:
            raise ArchiveDamaged(**self._facts, why=f"it cannot be unpacked ({error})") from error
        if self._frame.unused_data:
            raise ArchiveDamaged(**self._facts, why="something follows its end")
        return content


def _buffered(raw: io.RawIOBase) -> IO[bytes]:
    return io.BufferedReader(raw, BUFFER_BYTES)
